"""What the service's pages load: from here only, nothing inline, small, and what is vendored is what was published."""

import gzip
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from django.conf import settings
from django.http import FileResponse
from django.test import SimpleTestCase

from trading.pages import MODULES

ROOT = Path(settings.BASE_DIR)
STATIC = ROOT / "trading" / "static"
PAGES = tuple((ROOT / "trading" / "templates").glob("*.html"))
OURS = tuple((STATIC / "desk").iterdir())
VENDORED: list[dict[str, Any]] = json.loads((ROOT / "docs" / "vendored.json").read_text(encoding="utf-8"))
TRANSFER_MAX = 250_000


class VendoredTest(SimpleTestCase):
    def test_each_file_is_as_published(self) -> None:
        for package in VENDORED:
            for file in package["files"]:
                with self.subTest(file["path"]):
                    digest = hashlib.sha256((ROOT / file["path"]).read_bytes()).hexdigest()
                    self.assertEqual(file["sha256"], digest)

    def test_each_package_has_an_exact_version_a_licence_and_its_text(self) -> None:
        for package in VENDORED:
            with self.subTest(package["name"]):
                self.assertRegex(package["version"], r"^\d+\.\d+\.\d+$")
                self.assertIn(package["licence"], ("MIT", "MPL-2.0"))
                self.assertTrue(any(file["path"].endswith("LICENSE") for file in package["files"]))
                self.assertTrue(package["package"].endswith(f"-{package['version']}.tgz"))
                self.assertRegex(package["integrity"], r"^sha512-[A-Za-z0-9+/]{86}==$")

    def test_nothing_is_vendored_that_is_not_listed(self) -> None:
        listed = {ROOT / file["path"] for package in VENDORED for file in package["files"]}
        there = {
            path
            for folder in (STATIC / "vendor", ROOT / "tests" / "browser" / "vendor")
            for path in folder.rglob("*")
            if path.is_file()
        }
        self.assertEqual(listed, there)


class OwnFilesTest(SimpleTestCase):
    def test_no_page_has_anything_inline_or_from_another_host(self) -> None:
        self.assertGreaterEqual(len(PAGES), 3)
        for page in PAGES:
            text = page.read_text(encoding="utf-8")
            with self.subTest(page.name):
                self.assertNotRegex(text, r"(?i)https?:|//|<style|style=|\son\w+=")
                self.assertNotRegex(text, r"<script(?![^>]*\ssrc=)")

    def test_no_script_makes_markup_of_text_or_speaks_to_another_host(self) -> None:
        for path in OURS:
            if path.suffix == ".js":
                text = path.read_text(encoding="utf-8")
                with self.subTest(path.name):
                    self.assertNotRegex(
                        text, r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
                    )
                    self.assertNotRegex(text, r"https?://")

    def test_the_browser_is_told_of_every_module_at_once(self) -> None:
        imported = {
            name
            for path in OURS
            if path.suffix == ".js" and path.name != "login.js"
            for name in re.findall(r'from "\./(\w+)\.js"', path.read_text(encoding="utf-8"))
        }
        self.assertEqual(imported, set(MODULES))

    def test_every_file_is_served_with_debug_off_as_what_it_is(self) -> None:
        kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
        self.assertFalse(settings.DEBUG)
        for path in OURS:
            with self.subTest(path.name):
                response = cast(FileResponse, self.client.get(f"/static/desk/{path.name}"))
                body = b"".join(cast(Iterable[bytes], response.streaming_content))
                self.assertEqual((200, path.read_bytes()), (response.status_code, body))
                self.assertTrue(response["Content-Type"].startswith(kinds[path.suffix]))

    def test_all_that_a_page_can_load_is_small(self) -> None:
        uplot = (STATIC / "vendor" / "uplot").iterdir()
        page = [ROOT / "trading" / "templates" / "desk.html"]
        sizes = {path.name: len(gzip.compress(path.read_bytes())) for path in (*OURS, *uplot, *page)}
        self.assertLess(sum(sizes.values()), TRANSFER_MAX, sizes)
