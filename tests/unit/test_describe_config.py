"""`.env.example` and the README's table of variables say what the code says, and drift is noticed."""

import io
import re
import shutil
import tempfile
import unittest
from pathlib import Path

from django.core.management import call_command
from django.core.management.base import CommandError

from trading.conf import PROJECT_ROOT, SECRETS, SECTIONS, VARIABLES, Config, load_config
from trading.management.commands.describe_config import EXAMPLE, README, documents, example, groups, table


class Documents(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        for name in (EXAMPLE, README):
            shutil.copy(PROJECT_ROOT / name, self.folder / name)

    def describe(self, *arguments: str) -> str:
        said = io.StringIO()
        call_command("describe_config", *arguments, folder=self.folder, stdout=said)
        return said.getvalue()

    def test_what_is_committed_is_what_the_code_says(self) -> None:
        self.assertEqual(self.describe("--check"), "")

    def test_drift_in_either_is_told_and_mended(self) -> None:
        for name, old, new in (
            (EXAMPLE, "MAX_LEVERAGE=3", "MAX_LEVERAGE=4"),
            (README, "| `MARGIN_RESERVE` | 0.05 |", "| x |"),
        ):
            with self.subTest(name):
                path = self.folder / name
                good = path.read_text(encoding="utf-8")
                self.assertIn(old, good)
                path.write_text(good.replace(old, new), encoding="utf-8")
                with self.assertRaisesRegex(CommandError, f"{name} is not what"):
                    self.describe("--check")
                self.assertEqual(self.describe(), f"{name} is written\n")
                self.assertEqual(path.read_text(encoding="utf-8"), good)

    def test_a_missing_example_is_drift_and_a_readme_without_its_table_is_refused(self) -> None:
        (self.folder / EXAMPLE).unlink()
        with self.assertRaisesRegex(CommandError, EXAMPLE):
            self.describe("--check")
        (self.folder / README).write_text("nothing", encoding="utf-8")
        with self.assertRaisesRegex(CommandError, README):
            documents(self.folder)


class Example(unittest.TestCase):
    def test_it_names_every_variable_once_and_nothing_else(self) -> None:
        names = re.findall(r"^([A-Z_]+)=", example(), re.MULTILINE)
        self.assertEqual(names, list(VARIABLES))

    def test_copied_unchanged_it_gives_the_defaults(self) -> None:
        self.assertEqual(load_config({}, PROJECT_ROOT / EXAMPLE), Config.of())

    def test_every_group_has_words_and_secrets_are_called_so(self) -> None:
        text = example()
        for group in groups():
            with self.subTest(group):
                above = text[: text.index(f"\n{group[0]}=")].rpartition("\n\n")[2]
                self.assertTrue(above.startswith("# ") and len(above) > 20, above)
                self.assertEqual("Secret." in above, SECRETS.issuperset(group))

    def test_the_chapters_begin_where_they_say(self) -> None:
        starts = {group[0] for group in groups()}
        self.assertLessEqual(set(SECTIONS), starts)
        self.assertEqual(table().count("| **"), len(SECTIONS))
