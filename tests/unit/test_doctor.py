"""Tests of `manage.py doctor`: a row for everything, what to do for each that is not well, and no secret."""

import io
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from django.core.management import CommandError, call_command
from django.test import override_settings

from tests.servers.guardian import GuardianServer
from tests.servers.hyperliquid import open_server
from tests.servers.scout import ScoutServer
from trading import bootstrap
from trading.conf import Config, ConfigurationError
from trading.domain.desk_state import Cause, DeskState, TradingState
from trading.management.commands.doctor import examine
from trading.utils.inspection import LedgerReport

KEY = "0x" + "0123456789" * 6 + "0123"
NOWHERE = "http://127.0.0.1:1"


class DoctorCase(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def config(self, **changes: Any) -> Config:
        return Config.of(data_dir=self.folder / "data", redis_url="redis://127.0.0.1:1/3", **changes)

    def verdicts(self, config: Config) -> dict[str, str]:
        return {row.name: row.verdict for row in examine(config)}


class DemoTest(DoctorCase):
    def test_a_demo_that_never_ran_is_well_but_for_redis_and_the_monitor(self) -> None:
        found = self.verdicts(self.config())
        self.assertEqual({name for name, verdict in found.items() if verdict != "ok"}, {"Redis", "monitor"})
        self.assertNotIn("error", found.values())

    def test_every_row_that_is_promised_is_there_in_the_demo_too(self) -> None:
        promised = {"configuration", "Redis", "store", "venue clock", "venue", "Scout", "Guardian"}
        self.assertLessEqual(promised, set(self.verdicts(self.config())))

    def test_it_leaves_nothing_behind_where_nothing_was(self) -> None:
        self.verdicts(self.config())
        self.assertFalse((self.folder / "data" / "trades.json").exists())

    def test_a_running_monitor_is_seen_by_its_beat(self) -> None:
        config = self.config()
        desk = bootstrap.build_desk(config)
        with desk.store.monitor_seat():
            desk.store.beat(desk.clock.now())
            self.assertEqual(self.verdicts(config)["monitor"], "ok")
        self.assertEqual(self.verdicts(config)["monitor"], "warning")

    def test_a_desk_that_opens_nothing_is_told_with_the_cause(self) -> None:
        config = self.config()
        desk = bootstrap.build_desk(config)
        self.assertEqual("ok", self.verdicts(config)["trading"])
        for state, word in (
            (DeskState(TradingState.REDUCING, frozenset({Cause.DRIFT})), "DRIFT"),
            (DeskState(TradingState.HALTED, why="emergency stop"), "emergency stop"),
        ):
            desk.store.change_state(lambda old, new=state: replace(new, binding=old.binding))  # type: ignore[misc]  # a bound default
            (row,) = [one for one in examine(config) if one.name == "trading"]
            self.assertEqual("warning", row.verdict)
            self.assertIn(word, row.words)

    def test_the_targets_of_alerts_are_counted_and_a_wrong_one_is_an_error(self) -> None:
        for urls, verdict in (("", "ok"), ("json://127.0.0.1:1/s3cret", "ok"), ("nonsense-s3cret", "error")):
            (row,) = [one for one in examine(self.config(alert_urls=urls)) if one.name == "alerts"]
            self.assertEqual(verdict, row.verdict)
            self.assertNotIn("s3cret", repr(row))

    def test_a_damaged_ledger_is_an_error_and_the_command_fails(self) -> None:
        config = self.config()
        bootstrap.build_desk(config)
        (config.data_dir / "trades.json").write_bytes(b"nonsense")
        self.assertEqual(self.verdicts(config)["store"], "error")
        with override_settings(DESK_CONFIG=config), self.assertRaisesRegex(CommandError, "not everything is well"):
            call_command("doctor", stdout=io.StringIO())

    def test_a_folder_that_no_file_system_takes_is_an_error_in_the_table(self) -> None:
        config = self.config().model_copy(update={"data_dir": self.folder / ("a" * 300)})
        found = self.verdicts(config)
        self.assertEqual({"error"}, {found["store"], found["monitor"]})

    def test_secrets_that_others_may_read_are_a_warning_with_the_command_that_mends_it(self) -> None:
        file = self.folder / ".env"
        file.touch(0o644)
        with override_settings(ENV_FILE=file):
            (row,) = [one for one in examine(self.config()) if one.name == "secrets"]
            self.assertEqual((row.verdict, row.remedy), ("warning", f"Run: chmod 600 {file}"))
            file.chmod(0o600)
            self.assertNotIn("secrets", self.verdicts(self.config()))

    def test_a_setting_that_nothing_reads_is_a_warning_with_what_may_be_meant(self) -> None:
        file = self.folder / ".env"
        file.write_text("COOLDOWN=0\n")
        with override_settings(ENV_FILE=file):
            (row,) = [one for one in examine(self.config()) if one.name == "settings"]
        self.assertEqual(("warning", "COOLDOWN in .env is no variable of this service"), (row.verdict, row.words))
        self.assertIn("write COOLDOWN_SECONDS;", row.remedy)

    def test_what_the_checks_find_is_in_the_table_too(self) -> None:
        file = self.folder / "file"
        file.touch()
        rows = {row.name: row for row in examine(Config.of(data_dir=file, redis_url=self.config().redis_url))}
        self.assertEqual((rows["store"].verdict, rows["store"].remedy), ("error", "Name a directory."))
        self.assertEqual(self.verdicts(self.config(max_positions=9))["limits"], "warning")

    def test_nothing_in_the_table_is_cut_short(self) -> None:
        long = "HYPERLIQUID_ACCOUNT_ADDRESS: [is] " + "x" * 90
        for mistakes, words in (((f"{long}; do {long}",), long), ((), str(self.folder))):
            output = io.StringIO()
            with (
                override_settings(DESK_CONFIG=self.config(), CONFIGURATION_MISTAKES=mistakes),
                mock.patch("trading.management.commands.doctor.verify", return_value=LedgerReport((words,), (), {})),
                self.assertRaises(CommandError),
            ):
                call_command("doctor", stdout=output)
            self.assertNotIn("…", output.getvalue())
            columns = zip(*(line.split("│") for line in output.getvalue().splitlines() if "│" in line), strict=True)
            told = ["".join("".join(column).split()) for column in columns]
            self.assertTrue(any("".join(words.split()) in one for one in told), told)

    def test_all_well_is_printed_as_a_table(self) -> None:
        output = io.StringIO()
        with override_settings(DESK_CONFIG=self.config()):
            call_command("doctor", stdout=output)
        self.assertIn("demo mode", output.getvalue())

    def test_siblings_that_are_set_are_asked_for_real(self) -> None:
        with ScoutServer() as scout, GuardianServer() as guardian:
            found = self.verdicts(self.config(scout_url=scout.url, guardian_url=guardian.url))
            self.assertEqual((found["Scout"], found["Guardian"]), ("ok", "ok"))
        found = self.verdicts(self.config(scout_url=NOWHERE, guardian_url=NOWHERE))
        self.assertEqual((found["Scout"], found["Guardian"]), ("warning", "warning"))

    def test_a_scout_is_asked_on_a_machine_without_time_zone_files_too(self) -> None:
        """As a slim image is; and the configuration takes utc in any letters."""
        with ScoutServer() as scout, mock.patch("trading.conf.ZoneInfo", side_effect=OSError):
            for zone in ("UTC", "utc"):
                with self.subTest(zone):
                    found = self.verdicts(self.config(scout_url=scout.url, scout_timezone=zone))
                    self.assertEqual("ok", found["Scout"])


class LiveTest(DoctorCase):
    def live(self, url: str, **changes: Any) -> Config:
        return self.config(
            **{
                "demo_mode": False,
                "venue": "hyperliquid",
                "hyperliquid_api_url": url,
                "hyperliquid_account_address": "0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a",
                "hyperliquid_wallet_key": KEY,
                "scout_url": NOWHERE,
                "guardian_url": NOWHERE,
                **changes,
            }
        )

    def test_an_approved_wallet_is_well_and_no_key_is_shown(self) -> None:
        with open_server(master="0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a") as exchange:
            rows = tuple(examine(self.live(exchange.url)))
        found = {row.name: row.verdict for row in rows}
        self.assertEqual((found["account"], found["wallet key"], found["monitor"]), ("ok", "ok", "error"))
        self.assertNotIn(KEY[2:], repr(rows))

    def test_a_strangers_key_stops_the_start_and_says_what_to_do(self) -> None:
        with open_server(master="0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a") as exchange:
            config = self.live(exchange.url, hyperliquid_wallet_key="0x" + "77" * 32)
            with self.assertRaises(ConfigurationError) as refused:
                bootstrap.build_desk(config)
            self.assertIn("HYPERLIQUID", refused.exception.detail)
            self.assertEqual(self.verdicts(config)["wallet key"], "error")

    def test_a_venue_that_cannot_be_reached_is_no_reason_not_to_start(self) -> None:
        desk = bootstrap.build_desk(self.live(NOWHERE))
        self.assertEqual(desk.venue.name, "hyperliquid")
        self.assertIn("is not ready at start", str(desk.log.tail(5)))
        self.assertEqual(self.verdicts(self.live(NOWHERE))["venue"], "error")

    def test_a_key_that_is_none_is_a_mistake_of_the_configuration(self) -> None:
        broken = self.live(NOWHERE, hyperliquid_wallet_key='{"crypto": {}}', hyperliquid_keystore_password="x")
        with self.assertRaises(ConfigurationError):
            bootstrap.build_desk(broken)
        self.assertEqual(self.verdicts(broken)["venue"], "error")

    def test_a_folder_of_another_account_is_refused(self) -> None:
        bootstrap.build_desk(self.config())
        with self.assertRaisesRegex(ConfigurationError, "DATA_DIR: .* belongs to paper/.*: use another DATA_DIR"):
            bootstrap.build_desk(self.live(NOWHERE))
        self.assertEqual(self.verdicts(self.live(NOWHERE))["monitor"], "error")
