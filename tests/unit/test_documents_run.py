"""The documentation as far as it can be judged without running it: links lead somewhere, and its blocks are found."""

import re
import tempfile
import unittest
from pathlib import Path

from tests import documents
from tests.scenarios import SCENES
from trading.conf import PROJECT_ROOT


class DocumentsTest(unittest.TestCase):
    def test_no_link_leads_nowhere(self) -> None:
        self.assertEqual((), documents.dead_links())

    def test_the_blocks_of_every_page_are_found_in_order_and_where_they_stand(self) -> None:
        blocks = [block for page in documents.PAGES for block in documents.blocks_of(page)]
        self.assertGreater(len(blocks), 20)
        self.assertEqual(1, sum(block.stopped for block in blocks))
        for block in blocks:
            text = (PROJECT_ROOT / block.page).read_text(encoding="utf-8").splitlines()
            self.assertEqual(text[block.line - 1], block.commands.splitlines()[0])

    def test_no_pair_of_a_scene_is_traded_on_another_page(self) -> None:
        """A loss there would keep it from being opened for a quarter of an hour, for a reader as for the check."""
        traded = {
            page: {pair for one in documents.blocks_of(page) for pair in re.findall(r'"pair": "([^"]+)"', one.commands)}
            for page in documents.PAGES
        }
        for scene in SCENES:
            self.assertEqual(1, sum(scene.pair in pairs for pairs in traded.values()), scene.pair)

    def test_each_page_says_how_many_blocks_ran_and_why_others_did_not(self) -> None:
        for page in documents.PAGES:
            self.assertNotIn(" 0 block", documents.told(page))
        self.assertRegex(documents.told("README.md"), r"^README.md: \d blocks ran, 1 shown only \(")
        self.assertEqual("docs/licences.md: no commands", documents.told("docs/licences.md"))

    def test_a_block_that_is_not_run_and_does_not_say_why_is_a_mistake(self) -> None:
        text = (
            "# X\n\nwords\n\n<!-- shown only: a reason -->\n\n    a\n\n    b\n\nwords\n\n    c\n\n```sh\n\n    d\n```\n"
        )
        page = Path(self.enterContext(tempfile.TemporaryDirectory())) / "x.md"
        page.write_text(text, encoding="utf-8")
        first, second = documents.shown_in(str(page))
        self.assertEqual((7, "a reason"), (first.line, first.why))
        self.assertEqual((13, ""), (second.line, second.why))
        with self.assertRaises(documents.Failed) as failed:
            documents.told(str(page))
        self.assertIn("line 13: neither run nor said why", str(failed.exception))

    def test_a_block_that_fails_is_told_with_its_place(self) -> None:
        service = documents.Service(Path(self.enterContext(tempfile.TemporaryDirectory())))
        service.run(documents.Block("docs/x.md", 6, "export KEPT=7\n", False))
        service.run(documents.Block("docs/x.md", 7, 'test "$KEPT" = 7\n', False))
        with self.assertRaises(documents.Failed) as failed:
            service.run(documents.Block("docs/x.md", 8, "echo said; false\n", False))
        for words in ("docs/x.md, line 8", "said"):
            self.assertIn(words, str(failed.exception))
