"""Tests of the settings: what tests may see, and what Django is told."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from django.conf import settings
from django.test import SimpleTestCase

from tests.runner import private_redis
from trading.conf import PROJECT_ROOT


def setting(expression: str, environ: dict[str, str], *arguments: str) -> str:
    """What *expression* over the settings is in a fresh process with that environment and these arguments."""
    script = f"import sys; sys.argv[1:] = {list(arguments)!r}; from executor_agent import settings; print({expression})"
    done = subprocess.run(
        (sys.executable, "-c", script),
        cwd=PROJECT_ROOT,
        env={"PATH": os.environ["PATH"], **environ},
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


class Fresh(unittest.TestCase):
    def test_tests_do_not_see_the_environment(self) -> None:
        environ = {"MAX_POSITIONS": "9", "DATA_DIR": str(PROJECT_ROOT / "data"), "MAX_ALLOCATION": "nonsense"}
        found = setting("settings.DESK_CONFIG.max_positions, settings.DESK_CONFIG.data_dir", environ, "test")
        self.assertTrue(found.startswith("(3, "))
        self.assertNotIn(str(PROJECT_ROOT), found)

    def test_their_folder_is_gone_afterwards(self) -> None:
        self.assertFalse(Path(setting("settings.DESK_CONFIG.data_dir", {}, "test")).exists())

    def test_everything_else_sees_it(self) -> None:
        environ = {"PAPER_SEED": "9", "ALLOWED_HOSTS": "desk.example", "CORS_ALLOWED_ORIGINS": "https://a.example"}
        expression = "settings.DESK_CONFIG.paper_seed, settings.ALLOWED_HOSTS, settings.CORS_ALLOWED_ORIGINS"
        self.assertEqual(
            setting(expression, {"DEMO_MODE": "true", **environ}), "(9, ['desk.example'], ['https://a.example'])"
        )

    def test_a_demo_makes_up_its_key_and_a_key_that_is_given_is_used(self) -> None:
        made_up = {setting("settings.SECRET_KEY", {"DEMO_MODE": "true"}, "test") for _ in range(2)}
        self.assertEqual(len(made_up), 2)
        self.assertGreaterEqual(min(map(len, made_up)), 50)
        self.assertEqual(setting("settings.SECRET_KEY", {"DEMO_MODE": "true", "SECRET_KEY": "given"}), "given")
