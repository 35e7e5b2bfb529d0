"""The page of the API in a real browser, under the policy of pages: everything is shown, and nothing is refused."""

import json

from tests.browser.chromium import BrowserCase, until
from trading import schema

OPERATIONS = sum(len(methods) for methods in json.loads(schema.document("json"))["paths"].values())


class DocsTest(BrowserCase):
    def test_every_operation_is_shown_opens_and_can_be_tried_without_a_violation(self) -> None:
        self.browser.open("/api/docs")
        until(lambda: len(self.browser.all(".opblock")) == OPERATIONS, f"{OPERATIONS} operations being shown")
        self.browser.script("document.querySelector('.opblock-summary-path[data-path=\"/api/health\"]').click()")
        self.browser.click(".try-out__btn")
        self.browser.click(".execute")
        self.browser.see(".live-responses-table", "executor_agent")
        self.assertEqual([], self.browser.errors())
