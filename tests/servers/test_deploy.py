"""What is shipped for production: it loads where its checker is installed, it names only what exists, and a stop of
the web process lets a trade in flight answer."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path
from typing import Any

import yaml

from tests.processes import wait_until
from tests.servers.guardian import APPROVAL, GuardianServer
from tests.servers.service import ServiceCase
from tests.servers.sibling import Reply
from trading.conf import PROJECT_ROOT, SECRETS, VARIABLES
from trading.metrics import NAMES

DEPLOY = PROJECT_ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
METRIC = re.compile(r"\bexecutor_[a-z_]+\b")
BODY = {"signal_id": "one", "pair": "SOL/AVAX", "position_size": 1000}
EXPOSURE_MAX = 25
"""Of systemd's own exposure points, in tenths: 10 is a unit that is free to do anything."""


def checked(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def tool(name: str) -> str:
    """The path of a checker. Skips the test, with a word, where it is not installed."""
    found = shutil.which(name)
    if found is None:
        raise unittest.SkipTest(f"{name} is not installed here")
    return found


class DrainTest(ServiceCase):
    """A real gunicorn with the shipped configuration, and a Guardian that takes its time."""

    def setUp(self) -> None:
        super().setUp()
        self.guardian = self.enterContext(GuardianServer())

    @property
    def environ(self) -> dict[str, str]:
        return {**super().environ, "GUARDIAN_URL": self.guardian.url}

    def start_web(self) -> "subprocess.Popen[bytes]":
        self.output.touch()
        with self.output.open("ab") as output:
            web = subprocess.Popen(
                (
                    *(sys.executable, "-m", "gunicorn", "-c", str(DEPLOY / "gunicorn.conf.py")),
                    *("--bind", f"127.0.0.1:{self.port}"),
                ),
                cwd=PROJECT_ROOT,
                env=self.environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.addCleanup(web.wait)
        self.addCleanup(web.kill)
        wait_until(lambda: self.answers() or web.poll() is not None, "getting ready")
        self.assertIsNone(web.poll(), self.output.read_text(encoding="utf-8"))
        return web

    def answers(self) -> bool:
        try:
            return self.ask("GET", "/api/health")[0] == 200
        except OSError:
            return False

    def test_a_trade_in_flight_is_answered_and_then_the_process_ends(self) -> None:
        body = json.dumps(APPROVAL).encode()
        self.guardian.script(Reply(body=body, drip_seconds=1.5 / len(body)))
        web, answer = self.start_web(), []

        def execute() -> None:
            answer.append(self.ask("POST", "/api/trades/execute", BODY))

        asking = threading.Thread(target=execute)
        asking.start()
        wait_until(lambda: bool(self.guardian.received), "the question to Guardian")
        web.send_signal(signal.SIGTERM)
        asking.join(15)
        ((status, position),) = answer
        self.assertEqual((201, "open"), (status, position["status"]))
        self.assertEqual(0, web.wait(15))
        self.assertFalse(self.answers())
        self.assertIn(str(position["position_id"]), (self.folder / "data" / "positions.json").read_text("utf-8"))


class ImageTest(ServiceCase):
    """What the image starts, with this checkout in its place: it listens at all addresses, for it cannot know which of
    them others reach."""

    def run_image(self, **variables: str) -> "subprocess.Popen[bytes]":
        text = (DEPLOY / "docker" / "Dockerfile").read_text(encoding="utf-8")
        (found,) = re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)
        program, *words = json.loads(found)
        command = (sys.executable, "-m", program, *(word.replace(":8004", f":{self.port}") for word in words))
        with self.output.open("wb") as output:
            image = subprocess.Popen(
                command, cwd=PROJECT_ROOT, env={**self.environ, **variables}, stdout=output, stderr=output
            )
        self.addCleanup(image.wait)
        self.addCleanup(image.terminate)
        return image

    def answered(self) -> bool:
        try:
            return self.ask_any("GET", "/api/positions")[0] == 401
        except OSError:
            return False

    def test_without_tokens_it_does_not_start(self) -> None:
        """It served the demo to whoever reached the port, and let him do everything."""
        self.assertEqual(3, self.run_image().wait(60))
        self.assertTrue(self.said("API_TOKENS: without any"), self.output.read_text(encoding="utf-8"))

    def test_with_tokens_it_serves_those_who_have_one(self) -> None:
        tokens = {"API_TOKENS": f"desk:read:{'0' * 64}", "ALLOW_ANONYMOUS_LOOPBACK": "false"}
        image = self.run_image(**tokens)
        wait_until(lambda: self.answered() or image.poll() is not None, "an answer")
        self.assertIsNone(image.poll(), self.output.read_text(encoding="utf-8"))


class UnitTest(unittest.TestCase):
    """The units, with this checkout in place of /opt/executor-agent."""

    def rendered(self) -> Path:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        for unit in UNITS:
            text = unit.read_text(encoding="utf-8").replace(
                "/opt/executor-agent/.venv/bin/", f"{Path(sys.executable).parent}/"
            )
            text = text.replace("/opt/executor-agent", str(PROJECT_ROOT)).replace("User=executor", "User=root")
            (folder / unit.name).write_text(text.replace("Group=executor", "Group=root"), encoding="utf-8")
        return folder

    def test_systemd_takes_them(self) -> None:
        analyze = tool("systemd-analyze")
        units = [str(self.rendered() / unit.name) for unit in UNITS if unit.suffix == ".service"]
        found = checked(analyze, "verify", "--man=no", "--recursive-errors=no", *units)
        ours = [line for line in found.stderr.splitlines() if "executor-agent" in line]
        self.assertEqual([], ours, found.stderr)

    def test_they_may_do_little(self) -> None:
        analyze = tool("systemd-analyze")
        for unit in UNITS:
            if unit.suffix == ".service":
                found = checked(analyze, "security", "--offline=yes", f"--threshold={EXPOSURE_MAX}", str(unit))
                if "Unknown option" in found.stderr or "unrecognized option" in found.stderr:
                    raise unittest.SkipTest("this systemd-analyze judges no files")
                self.assertEqual(0, found.returncode, found.stdout[-1500:] + found.stderr)

    def test_every_variable_and_secret_that_they_set_is_one_of_the_configuration(self) -> None:
        for unit in UNITS:
            settings = re.findall(r"^Environment=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
            names = {one.partition("=")[0] for line in settings for one in line.split()}
            for name in names - {"PYTHONUNBUFFERED"}:
                known = name in VARIABLES or name.removesuffix("_FILE") in SECRETS
                self.assertTrue(known, f"{unit.name} sets {name}")

    def test_a_command_runs_on_the_desk_that_the_monitor_watches(self) -> None:
        """Without the unit's environment it is the demo that is stopped, in a folder of its own, and soon flat."""
        monitor, command = (
            (DEPLOY / "systemd" / f"executor-agent-{name}.service").read_text(encoding="utf-8").partition("\nUser=")[2]
            for name in ("monitor", "command@")
        )
        self.assertEqual(monitor.partition("\n[Install]")[0].strip(), command.strip())

    def test_each_credential_is_loaded_and_used(self) -> None:
        for unit in UNITS:
            text = unit.read_text(encoding="utf-8")
            self.assertEqual(
                set(re.findall(r"^LoadCredential=(\w+):", text, re.MULTILINE)), set(re.findall(r"%d/(\w+)", text)), unit
            )


class MonitoringTest(unittest.TestCase):
    def test_dashboard_and_rules_name_only_metrics_that_exist(self) -> None:
        for path in (DEPLOY / "prometheus" / "rules.yml", DEPLOY / "grafana" / "executor-agent.json"):
            named = set(METRIC.findall(path.read_text(encoding="utf-8")))
            self.assertGreater(len(named), 10)
            self.assertEqual(set(), named - NAMES, path.name)

    def test_promtool_takes_the_rules_and_the_scrape(self) -> None:
        promtool = tool("promtool")
        rules = checked(promtool, "check", "rules", str(DEPLOY / "prometheus" / "rules.yml"))
        self.assertEqual(0, rules.returncode, rules.stdout + rules.stderr)
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        token = folder / "token"
        token.write_text("x", encoding="utf-8")
        jobs: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "prometheus" / "scrape.yml").read_text(encoding="utf-8"))
        jobs[0]["authorization"]["credentials_file"] = str(token)
        config = folder / "prometheus.yml"
        config.write_text(yaml.safe_dump({"scrape_configs": jobs}), encoding="utf-8")
        found = checked(promtool, "check", "config", str(config))
        self.assertEqual(0, found.returncode, found.stdout + found.stderr)

    def test_every_rule_fires_when_it_should_and_none_on_a_desk_that_is_well(self) -> None:
        rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text(encoding="utf-8"))
        tried = yaml.safe_load((DEPLOY / "prometheus" / "rules.test.yml").read_text(encoding="utf-8"))
        _, firing = tried["tests"][0]["promql_expr_test"]
        self.assertEqual(
            [f'{{alertname="{rule["alert"]}"}}' for group in rules["groups"] for rule in group["rules"]],
            [one["labels"] for one in firing["exp_samples"]],
        )
        promtool = tool("promtool")
        found = checked(promtool, "test", "rules", str(DEPLOY / "prometheus" / "rules.test.yml"))
        self.assertEqual(0, found.returncode, found.stdout + found.stderr)

    def test_promtool_takes_every_question_of_the_dashboard(self) -> None:
        dashboard = json.loads((DEPLOY / "grafana" / "executor-agent.json").read_text(encoding="utf-8"))
        asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        self.assertGreater(len(asked), 20)
        rules = [{"record": f"asked:{number}", "expr": expr} for number, expr in enumerate(asked)]
        path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "asked.yml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}), encoding="utf-8")
        found = checked(tool("promtool"), "check", "rules", str(path))
        self.assertEqual(0, found.returncode, found.stdout + found.stderr)

    def test_every_panel_of_the_dashboard_has_its_own_place_and_question(self) -> None:
        dashboard = json.loads((DEPLOY / "grafana" / "executor-agent.json").read_text(encoding="utf-8"))
        places = [(one["gridPos"]["x"], one["gridPos"]["y"]) for one in dashboard["panels"]]
        self.assertEqual(len(places), len(set(places)))
        self.assertTrue(all(target["expr"] for panel in dashboard["panels"] for target in panel["targets"]))


class OthersTest(unittest.TestCase):
    def test_nginx_takes_the_snippet(self) -> None:
        nginx, openssl = tool("nginx"), tool("openssl")
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        key, certificate = folder / "key.pem", folder / "cert.pem"
        made = checked(
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "1"),
            *("-keyout", str(key), "-out", str(certificate)),
        )
        self.assertEqual(0, made.returncode, made.stderr)
        text = (DEPLOY / "nginx" / "executor-agent.conf").read_text(encoding="utf-8")
        text = text.replace("/etc/ssl/executor/fullchain.pem", str(certificate))
        text = text.replace("/etc/ssl/executor/privkey.pem", str(key)).replace("listen 443", "listen 127.0.0.1:1443")
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
        http = f"http {{\naccess_log off;\n{temporary}\n{text}\n}}"
        whole = folder / "nginx.conf"
        whole.write_text(f"pid {folder}/pid;\nerror_log stderr;\nevents {{}}\n{http}\n", encoding="utf-8")
        found = checked(nginx, "-t", "-e", "stderr", "-p", str(folder), "-c", str(whole))
        self.assertEqual(0, found.returncode, found.stderr)

    def test_compose_has_web_monitor_and_redis_over_one_folder(self) -> None:
        compose = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text(encoding="utf-8"))
        self.assertEqual({"web", "monitor", "redis"}, set(compose["services"]))
        for name in ("web", "monitor"):
            service = compose["services"][name]
            self.assertEqual((True, ["ALL"]), (service["read_only"], service["cap_drop"]))
            self.assertEqual(["data:/data"], service["volumes"])
        self.assertEqual(["127.0.0.1:8004:8004"], compose["services"]["web"]["ports"])

    def test_the_image_holds_what_the_service_needs_and_what_is_copied_exists(self) -> None:
        text = (DEPLOY / "docker" / "Dockerfile").read_text(encoding="utf-8")
        allowed = (PROJECT_ROOT / ".dockerignore").read_text(encoding="utf-8")
        for name in re.findall(r"^COPY (?!--from)(\S+) ", text, re.MULTILINE):
            self.assertTrue((PROJECT_ROOT / name).exists(), name)
            self.assertIn(f"!{name}", allowed)
        self.assertIn("USER 10001", text)

    def test_hadolint_takes_the_dockerfile(self) -> None:
        found = checked(tool("hadolint"), str(DEPLOY / "docker" / "Dockerfile"))
        self.assertEqual(0, found.returncode, found.stdout)

    def test_dclint_takes_the_compose_file(self) -> None:
        found = checked(tool("dclint"), "--quiet", str(DEPLOY / "docker" / "compose.yaml"))
        self.assertEqual(0, found.returncode, found.stdout + found.stderr)

    def test_the_procfile_starts_what_there_is(self) -> None:
        procfile = (DEPLOY / "Procfile").read_text(encoding="utf-8")
        lines = dict(line.split(": ", 1) for line in procfile.splitlines() if line)
        self.assertEqual({"web", "monitor"}, set(lines))
        self.assertIn("deploy/gunicorn.conf.py", lines["web"])
        self.assertIn("monitor_positions", lines["monitor"])

    def test_gunicorn_takes_its_configuration(self) -> None:
        environ = {"PATH": os.environ["PATH"], "DATA_DIR": self.enterContext(tempfile.TemporaryDirectory())}
        found = subprocess.run(
            (sys.executable, "-m", "gunicorn", "-c", str(DEPLOY / "gunicorn.conf.py"), "--print-config"),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=PROJECT_ROOT,
            env=environ,
        )
        self.assertEqual(0, found.returncode, found.stderr)
        for line in ("graceful_timeout", "threads"):
            self.assertIn(line, found.stdout)
