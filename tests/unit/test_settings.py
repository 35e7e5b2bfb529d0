"""Tests of the settings: what tests may see, and what Django is told."""

import io
import subprocess
import sys
import tempfile
import unittest
from contextlib import redirect_stderr
from pathlib import Path
from unittest import mock

import coverage
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.test import SimpleTestCase

from executor_agent import asgi, wsgi
from executor_agent.settings import CONFIGURATION_EXIT_CODE, configure, dotenv_of, refused_start
from tests.processes import environ_of
from tests.runner import PROCESSES_MAX, private_redis, processes_by_default
from trading.conf import PROJECT_ROOT, ConfigurationError
from trading.middleware import WsgiDoor


def setting(expression: str, environ: dict[str, str], *arguments: str) -> str:
    """What *expression* over the settings is in a fresh process with that environment and these arguments."""
    script = f"import sys; sys.argv[1:] = {list(arguments)!r}; from executor_agent import settings; print({expression})"
    done = subprocess.run(
        (sys.executable, "-c", script),
        cwd=PROJECT_ROOT,
        env=environ_of(**environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


class UnderTest(SimpleTestCase):
    def test_the_desk_has_an_empty_folder_of_its_own(self) -> None:
        self.assertTrue(settings.TESTING)
        self.assertTrue(settings.DESK_CONFIG.data_dir.is_relative_to(tempfile.gettempdir()))
        self.assertFalse(settings.DESK_CONFIG.data_dir.is_relative_to(PROJECT_ROOT / "data"))

    def test_the_desk_has_a_redis_of_its_own_or_none(self) -> None:
        running = private_redis()
        self.assertEqual(settings.DESK_CONFIG.redis_url, running.url if running else settings.NO_REDIS_URL)


class Processes(unittest.TestCase):
    def test_there_are_never_more_than_the_suite_is_timed_for(self) -> None:
        self.assertIn(processes_by_default(), range(1, PROCESSES_MAX + 1))

    def test_a_measurement_of_one_process_gets_one(self) -> None:
        with mock.patch.dict(sys.modules, {"coverage": coverage}):
            self.assertEqual(processes_by_default(), 1)

    def test_without_tblib_a_failure_could_not_be_told_so_there_is_one(self) -> None:
        with mock.patch("tests.runner.find_spec", return_value=None):
            self.assertEqual(processes_by_default(), 1)


class Configuring(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dotenv = Path(folder.name) / ".env"

    def test_the_environment_and_the_file_are_read(self) -> None:
        self.dotenv.write_text("MAX_LEVERAGE=2\n", encoding="utf-8")
        config = configure({"PAPER_SEED": "9"}, self.dotenv, testing=False)
        self.assertEqual((config.paper_seed, config.max_leverage), (9, 2))

    def test_mistakes_are_lines_on_stderr_and_a_code(self) -> None:
        with self.assertRaises(ConfigurationError) as caught:
            configure({"DEBUG": "perhaps", "PAPER_SEED": "x"}, self.dotenv, testing=False)
        said = io.StringIO()
        with redirect_stderr(said):
            self.assertEqual(refused_start(caught.exception).code, CONFIGURATION_EXIT_CODE)
        first, *lines = said.getvalue().splitlines()
        self.assertEqual(first, "The configuration is wrong, so nothing was started:")
        self.assertEqual([line.partition(":")[0] for line in lines], ["  DEBUG", "  PAPER_SEED"])


class Doors(unittest.TestCase):
    def test_servers_find_the_application(self) -> None:
        self.assertIsInstance(wsgi.application, WsgiDoor)
        self.assertIsInstance(asgi.application, ASGIHandler)


class Fresh(unittest.TestCase):
    def test_tests_do_not_see_the_environment(self) -> None:
        environ = {"MAX_POSITIONS": "9", "DATA_DIR": str(PROJECT_ROOT / "data"), "MAX_ALLOCATION": "nonsense"}
        found = setting("settings.DESK_CONFIG.max_positions, settings.DESK_CONFIG.data_dir", environ, "test")
        self.assertTrue(found.startswith("3 "))
        self.assertNotIn(str(PROJECT_ROOT), found)

    def test_their_folder_is_gone_afterwards(self) -> None:
        self.assertFalse(Path(setting("settings.DESK_CONFIG.data_dir", {}, "test")).exists())

    def test_everything_else_sees_it(self) -> None:
        environ = {"PAPER_SEED": "9", "ALLOWED_HOSTS": "desk.example", "CORS_ALLOWED_ORIGINS": "https://a.example"}
        expression = "settings.DESK_CONFIG.paper_seed, settings.ALLOWED_HOSTS, settings.CORS_ALLOWED_ORIGINS"
        self.assertEqual(
            setting(expression, {"DEMO_MODE": "true", **environ}), "9 ['desk.example'] ['https://a.example']"
        )

    def test_another_file_than_dotenv_is_read_where_one_is_named_and_none_where_it_is_blank(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory())
        file = Path(folder) / "testnet.env"
        file.write_text("PAPER_SEED=11\n", encoding="utf-8")
        for named, seed, read in ((str(file), "11", str(file)), ("", "7", "None")):
            with self.subTest(named):
                found = setting("settings.DESK_CONFIG.paper_seed, settings.ENV_FILE", {"ENV_FILE": named})
                self.assertEqual(found, f"{seed} {read}")
        self.assertEqual(dotenv_of({}), PROJECT_ROOT / ".env")

    def test_a_file_that_is_named_and_not_there_is_a_mistake(self) -> None:
        with self.assertRaisesRegex(ConfigurationError, "ENV_FILE: "):
            dotenv_of({"ENV_FILE": "/nowhere/live.env"})

    def test_mistakes_stop_every_command_but_the_doctor_who_shows_them_in_a_table(self) -> None:
        for environ, names in (
            ({"STOP_LOSS": "x", "MAX_POSITIONS": "0"}, ("STOP_LOSS", "MAX_POSITIONS")),
            ({"ENV_FILE": "/nowhere/live.env"}, ("ENV_FILE",)),
        ):
            for command, code in (("check", CONFIGURATION_EXIT_CODE), ("doctor", 1)):
                done = subprocess.run(
                    (sys.executable, "manage.py", command),
                    cwd=PROJECT_ROOT,
                    env=environ_of(**environ),
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=False,
                )
                with self.subTest(command, names=names):
                    self.assertEqual(done.returncode, code)
                    self.assertEqual([name in done.stdout for name in names], [command == "doctor"] * len(names))

    def test_a_demo_makes_up_its_key_and_a_key_that_is_given_is_used(self) -> None:
        made_up = {setting("settings.SECRET_KEY", {"DEMO_MODE": "true"}, "test") for _ in range(2)}
        self.assertEqual(len(made_up), 2)
        self.assertGreaterEqual(min(map(len, made_up)), 50)
        self.assertEqual(setting("settings.SECRET_KEY", {"DEMO_MODE": "true", "SECRET_KEY": "given"}), "given")
