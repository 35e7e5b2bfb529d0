"""Alerts, metrics and output of the whole service: real processes and a real receiver."""

import http.client

from prometheus_client.parser import text_string_to_metric_families

from tests.processes import wait_until
from tests.servers.service import ServiceCase
from tests.servers.sibling import Sibling

BODY = {"signal_id": "one", "pair": "SOL/AVAX", "position_size": 1000}


class AlertedService(ServiceCase):
    def setUp(self) -> None:
        super().setUp()
        self.receiver = self.enterContext(Sibling())

    @property
    def environ(self) -> dict[str, str]:
        return {**super().environ, "ALERT_URLS": self.receiver.url.replace("http", "json", 1), "LOG_FORMAT": "json"}

    def heard(self, words: str) -> bool:
        return any(words in f"{one.json['title']} {one.json['message']}" for one in self.receiver.received)

    def samples(self) -> set[tuple[str, str]]:
        """Each metric's name with the process it is of."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        families = text_string_to_metric_families(text)
        return {(one.name, one.labels.get("process", "")) for family in families for one in family.samples}

    def test_an_emergency_stop_is_told_and_both_processes_are_measured(self) -> None:
        self.start()
        wait_until(self.is_healthy, "being healthy")
        self.ask("POST", "/api/trades/execute", BODY)
        wait_until(lambda: ("executor_call_seconds_count", "monitor") in self.samples(), "the monitor's meters")
        self.assertIn(("executor_call_seconds_count", "web"), self.samples())
        self.ask("POST", "/api/emergency_stop")
        wait_until(lambda: self.heard("emergency stop"), "the alert about the stop")
        # Lines are written beside the caller: the alert may be faster.
        wait_until(self.says_who_asked_for_the_stop, "the line of the stop with its request id")

    def says_who_asked_for_the_stop(self) -> bool:
        lines = [line for line in self.output.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
        return any('"name": "EmergencyStop"' in line and '"request_id"' in line for line in lines)
