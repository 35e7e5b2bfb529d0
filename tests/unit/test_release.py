"""What a release is held up by: a checkout that is not ready, a part that failed, and one that could not be checked."""

import io
import json
import os
import subprocess
import sys
import tempfile
import unittest
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

from tests import release
from tests.release import Outcome


class ReleaseCase(unittest.TestCase):
    def says(self, **said: tuple[int, str, str]) -> None:
        """What programs end with and say, by the first of their words that is a name here."""

        def run(*command: str) -> "subprocess.CompletedProcess[str]":
            name = next((one for word in command if (one := word.replace("-", "_").strip("./")) in said), "")
            status, out, err = said.get(name, (0, "", ""))
            return subprocess.CompletedProcess(command, status, out, err)

        self.enterContext(mock.patch.object(release, "_said", run))


class CheckoutTest(ReleaseCase):
    def test_what_keeps_a_checkout_from_being_released_is_named(self) -> None:
        self.says(status=(0, " M trading/x.py", ""), tag=(0, "v9.9.9", ""))
        self.enterContext(mock.patch.object(release, "__version__", "9.9.9"))
        self.assertEqual("failed", release.checkout().verdict)
        for words in (
            "no heading '## [9.9.9]",
            "schema.yml has another version",
            "not everything is",
            "the tag v9.9.9",
        ):
            self.assertIn(words, release.checkout().words)

    def test_the_version_of_this_checkout_is_in_its_changelog_and_its_schema(self) -> None:
        self.says()
        self.assertEqual([], [one for one in release.problems() if "Unreleased:" not in one])


@unittest.skipIf(sys.platform == "win32", "make and a shell are not there")
class PartTest(ReleaseCase):
    def test_vulnerabilities_are_found_none_or_unknown_and_unknown_is_not_none(self) -> None:
        bad = {"dependencies": [{"name": "x", "version": "1", "vulns": [{"id": "CVE-1"}]}]}
        for status, out, err, expected in (
            (0, json.dumps({"dependencies": [{"name": "x", "version": "1", "vulns": []}]}), "", Outcome("passed")),
            (1, json.dumps(bad), "Found 1", Outcome("failed", "known to be vulnerable: x 1")),
            (1, "", "a\nno route", Outcome("unchecked", "the list of vulnerabilities gave no answer: no route")),
            (0, "[]", "", Outcome("unchecked", "the list of vulnerabilities gave no answer: nothing was said")),
        ):
            with self.subTest(expected):
                self.says(json=(status, out, err))
                self.assertEqual(expected, release.audit())

    def test_a_checker_that_is_missing_leaves_its_file_unchecked(self) -> None:
        self.enterContext(redirect_stdout(io.StringIO()))
        self.says(deploy_check=(0, "", "test_x ... skipped 'nginx is not installed here'"))
        self.assertEqual(Outcome("unchecked", "nginx is not installed here"), release.deploy())
        self.says(deploy_check=(0, "", "ok"))
        self.assertEqual(Outcome("passed"), release.deploy())
        self.says(deploy_check=(2, "", "FAILED"))
        self.assertEqual("failed", release.deploy().verdict)

    def engine(self, *failing: str) -> Path:
        """A container engine on the PATH that fails at some commands; the file that has what it was asked."""
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        docker, asked = folder / "docker", folder / "asked"
        cases = "".join(f'[ "$1" = {one} ] && exit 1\n' for one in failing)
        docker.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n{cases}exit 0\n', encoding="utf-8")
        docker.chmod(0o700)
        self.enterContext(mock.patch.dict(os.environ, {"PATH": f"{folder}:{os.environ['PATH']}"}))
        return asked

    def test_without_an_engine_that_answers_the_image_is_unchecked(self) -> None:
        self.engine("info")
        self.assertEqual("unchecked", release.image().verdict)

    def test_with_one_it_is_built_and_started(self) -> None:
        asked = self.engine()
        self.assertEqual(Outcome("passed"), release.image())
        self.assertEqual(["info", "build", "run"], [line.split()[0] for line in asked.read_text().splitlines()])
        self.engine("run")
        self.assertEqual(Outcome("failed", "docker run ended with 1"), release.image())


class VerdictTest(unittest.TestCase):
    def test_only_what_passed_or_was_taken_on_lets_a_release_go(self) -> None:
        well, image = {"check": Outcome("passed")}, {"image": Outcome("unchecked", "no engine")}
        self.assertEqual((["passed       check"], 0), release.verdict(well, []))
        self.assertEqual((["NOT CHECKED  image       no engine"], 1), release.verdict(image, []))
        self.assertEqual((["NOT CHECKED  image       no engine"], 1), release.verdict(image, ["audit"]))
        told, status = release.verdict({**well, **image}, ["image"])
        self.assertEqual(("NOT CHECKED  image       no engine (taken on by whoever releases)", 0), (told[1], status))
        self.assertEqual(1, release.verdict({"check": Outcome("failed", "x")}, ["check"])[1])

    def test_a_part_that_there_is_not_is_refused(self) -> None:
        with redirect_stdout(io.StringIO()) as said:
            self.assertEqual(2, release.main(["audits"]))
        self.assertIn("there is no part audits", said.getvalue())
