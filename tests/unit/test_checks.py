"""Tests of what `manage.py check` says about a configuration."""

import pkgutil
import tempfile
import unittest
from pathlib import Path
from unittest.mock import patch

from django.core.checks import run_checks
from django.core.management import load_command_class
from django.test import SimpleTestCase, override_settings

from trading.checks import DESK, check_configuration, environment_findings, file_findings, findings, name_findings
from trading.conf import VARIABLES, Config
from trading.management import commands


def ids(config: Config) -> list[str | None]:
    return [one.id for one in findings(config)]


class Checks(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_the_defaults_surprise_nobody(self) -> None:
        self.assertEqual(ids(Config.of(data_dir=self.folder)), [])

    def test_a_data_dir_that_is_yet_to_be_made_is_fine_and_stays_unmade(self) -> None:
        self.assertEqual(ids(Config.of(data_dir=self.folder / "a" / "b")), [])
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_a_data_dir_that_is_a_file_is_an_error(self) -> None:
        path = self.folder / "file"
        path.touch()
        self.assertEqual(ids(Config.of(data_dir=path)), ["trading.E001"])

    def test_a_data_dir_that_no_file_system_takes_is_an_error(self) -> None:
        self.assertEqual(ids(Config.of(data_dir=self.folder / ("a" * 300))), ["trading.E001"])

    def test_a_data_dir_that_cannot_be_written_is_an_error(self) -> None:
        with patch("os.access", return_value=False):
            self.assertEqual(ids(Config.of(data_dir=self.folder)), ["trading.E002"])

    def test_more_than_the_account_in_positions_is_a_warning(self) -> None:
        for positions, allocation, expected in ((3, "0.3", []), (2, "0.5", []), (4, "0.3", ["trading.W001"])):
            with self.subTest(positions=positions, allocation=allocation):
                config = Config.of(data_dir=self.folder, max_positions=positions, max_allocation=allocation)
                self.assertEqual(ids(config), expected)

    def test_a_file_of_secrets_that_others_may_read_is_a_warning_with_the_command_that_mends_it(self) -> None:
        path = self.folder / ".env"
        self.assertEqual(file_findings(None), [])
        self.assertEqual(file_findings(path), [])
        path.touch()
        for mode, warned in ((0o600, False), (0o400, False), (0o640, True), (0o604, True), (0o620, True)):
            with self.subTest(oct(mode)):
                path.chmod(mode)
                found = file_findings(path)
                self.assertEqual([one.id for one in found], ["trading.W003"] if warned else [])
                self.assertTrue(all(str(path) in str(one.hint) for one in found))

    def test_a_name_in_the_file_that_is_half_a_variable_s_is_a_warning(self) -> None:
        """COOLDOWN=0 was ignored in silence, and the desk paused for a quarter of an hour all the same."""
        path = self.folder / ".env"
        self.assertEqual(name_findings(None), [])
        self.assertEqual(name_findings(path), [])
        for name, meant in (
            ("COOLDOWN", "COOLDOWN_SECONDS"),
            ("leverage_max", "MAX_LEVERAGE"),
            ("MAX_DAILY_LOSS_PERCENT", "MAX_DAILY_LOSS"),
            ("DJANGO_DEBUG", "DEBUG"),
            ("DATA_DIR_FILE", "DATA_DIR"),
            ("PORT", "REDIS_PORT or EXECUTOR_PORT"),
        ):
            with self.subTest(name):
                path.write_text(f"{name}=1\n")
                (found,) = name_findings(path)
                self.assertEqual(f"{name} in .env is no variable of this service", found.msg)
                self.assertIn(f"write {meant};", str(found.hint))
        path.write_text("MAX_LEVERAGE=2\nSECRET_KEY_FILE=key\nOPENAI_API_BASE=x\nCOMPOSE_FILE=y\nexport PATH=z\n")
        self.assertEqual(name_findings(path), [])

    def test_what_is_nearly_a_variable_in_the_environment_is_told_and_others_names_are_not(self) -> None:
        """MAX_ALLOCATON=0.05 in a unit file left the limit at 0.30, and nobody was told."""
        for name, meant in (
            ("MAX_ALLOCATON", "MAX_ALLOCATION"),
            ("MAX_DIALY_LOSS", "MAX_DAILY_LOSS"),
            ("EXECUTOR_PROT", "EXECUTOR_PORT"),
            ("STOP-LOSS", "STOP_LOSS"),
            ("EMO_MODE", "DEMO_MODE"),
            ("HYPERLIQUID_WALLET_KE", "HYPERLIQUID_WALLET_KEY"),
            ("max_leverage", "MAX_LEVERAGE"),
        ):
            with self.subTest(name):
                found = [one for one in environment_findings({name: "1"}) if meant in str(one.hint)]
                self.assertEqual([f"{name} in the environment is no variable of this service"], [x.msg for x in found])
        others = "PATH EXECUTOR_NUMBER EXECUTOR_PORT2 REDIS_HOSTS DATADIR DATA_DIRS SECRET_KEYS VENUES LOG_FORMATS"
        siblings = "SCOUT_API_URL GUARDIAN_API_URL HYPERLIQUID_API_KEY MAX_POSITION_SIZE TWAP_THRESHOLD PEAR_API_KEYS_2"
        for name in (*others.split(), *siblings.split(), *VARIABLES):
            with self.subTest(name):
                self.assertEqual([], environment_findings({name: "1"}))

    def test_callers_without_tokens_are_a_warning_once_money_is_real(self) -> None:
        for demo, anonymous, expected in (
            (True, True, []),
            (False, False, []),
            (False, True, ["trading.W002"]),
        ):
            with self.subTest(demo=demo, anonymous=anonymous):
                config = Config.of(data_dir=self.folder, demo_mode=demo, allow_anonymous_loopback=anonymous)
                self.assertEqual(ids(config), expected)


class Registered(SimpleTestCase):
    def test_django_asks_for_the_running_configuration(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            config = Config.of(data_dir=folder, max_allocation=1)
            file = Path(folder, ".env")
            file.write_text("COOLDOWN=0\n")
            file.chmod(0o600)
            with override_settings(DESK_CONFIG=config, ENV_FILE=file):
                self.assertEqual([one.id for one in check_configuration()], ["trading.W001", "trading.W004"])


class CommandsAsk(SimpleTestCase):
    def test_every_command_that_reads_the_desk_asks_for_these_checks_and_no_others(self) -> None:
        names = {one.name for one in pkgutil.iter_modules(commands.__path__)}
        asked = {name: tuple(load_command_class("trading", name).requires_system_checks) for name in names}
        before_there_is_one = {"create_api_token", "describe_config", "encrypt_key", "pear_login", "setup"}
        # A folder that cannot be written must not keep a holding from being closed.
        whatever_the_folder = {"emergency_stop"}
        # They only read it: it may be a copy on a disk that cannot be written.
        written_by_others = {"backup", "verify_ledger"}
        # What they find is a row of its table.
        itself = {"doctor"}
        unasked = before_there_is_one | whatever_the_folder | written_by_others | itself
        self.assertEqual({name for name, tags in asked.items() if tags == ()}, unasked)
        self.assertEqual({name for name, tags in asked.items() if tags == (DESK,)}, names - unasked - {"runserver"})

    def test_what_they_ask_for_finds_a_folder_that_cannot_be_used(self) -> None:
        with tempfile.NamedTemporaryFile() as file, override_settings(DESK_CONFIG=Config.of(data_dir=Path(file.name))):
            self.assertEqual([one.id for one in run_checks(tags=[DESK])], ["trading.E001"])
