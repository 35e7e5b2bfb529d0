"""The documentation as far as it can be judged without running it: links lead somewhere, and its blocks are found."""

import tempfile
import unittest
from pathlib import Path

from tests import documents
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

    def test_a_block_that_fails_is_told_with_its_place(self) -> None:
        service = documents.Service(Path(self.enterContext(tempfile.TemporaryDirectory())))
        service.run(documents.Block("docs/x.md", 6, "export KEPT=7\n", False))
        service.run(documents.Block("docs/x.md", 7, 'test "$KEPT" = 7\n', False))
        with self.assertRaises(documents.Failed) as failed:
            service.run(documents.Block("docs/x.md", 8, "echo said; false\n", False))
        for words in ("docs/x.md, line 8", "said"):
            self.assertIn(words, str(failed.exception))
