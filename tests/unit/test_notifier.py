"""The way out of alerts: a real HTTP receiver hears them, and no address ever leaves its room."""

import io
import logging
import unittest
from contextlib import redirect_stderr
from typing import NoReturn
from unittest import mock

from apprise import NotifyBase

from tests.builders import T0
from tests.servers.sibling import Reply, Sibling
from trading.adapters.notifier import AppriseNotifier
from trading.domain.alerts import Message, Urgency
from trading.domain.errors import InvalidRequest

MESSAGE = Message("m", "desk: drift", "12:00 drift: BTC", Urgency.ERROR, T0, T0, ())
SECRET = "s3cret-t0ken"


def raising(*_: object, **__: object) -> NoReturn:
    raise RuntimeError(f"cannot reach https://host/{SECRET}")


class NotifierTest(unittest.TestCase):
    def setUp(self) -> None:
        self.receiver = self.enterContext(Sibling())
        self.address = self.receiver.url.removeprefix("http://")

    def test_a_receiver_hears_title_body_and_urgency(self) -> None:
        notifier = AppriseNotifier([f"json://{self.address}/hook"])
        (target,) = notifier.targets
        self.assertTrue(notifier.tell(target, MESSAGE))
        (received,) = self.receiver.received
        self.assertEqual("/hook", received.path.rstrip("/"))
        told = received.json
        self.assertEqual(("desk: drift", "12:00 drift: BTC"), (told["title"], told["message"]))
        self.assertEqual("failure", told["type"])

    def test_a_refusal_a_redirect_and_silence_are_not_taken(self) -> None:
        elsewhere = self.enterContext(Sibling())
        notifier = AppriseNotifier([f"json://{self.address}"])
        for reply in (Reply(500), Reply(307, headers={"Location": elsewhere.url}), Reply(breaks_off=True)):
            self.receiver.script(reply)
            self.assertFalse(notifier.tell(notifier.targets[0], MESSAGE))
        self.assertEqual([], elsewhere.received)

    def test_an_address_that_is_none_is_refused_by_its_number_alone(self) -> None:
        for url, words in (
            (f"nosuchscheme://{SECRET}", "entry 2 is no address"),
            (SECRET, "entry 2 is no address"),
            (f"json://alerts.example.org/{SECRET}", "entry 2 sends without encryption"),
            (f"file:///tmp/{SECRET}", "entry 2"),
        ):
            with self.subTest(url), self.assertRaises(InvalidRequest) as refused:
                AppriseNotifier([f"json://{self.address}", url])
            self.assertIn(words, refused.exception.fields["ALERT_URLS"])
            self.assertNotIn(SECRET, str(refused.exception))

    def test_encrypted_addresses_are_taken(self) -> None:
        notifier = AppriseNotifier(
            ["jsons://alerts.example.org/hook", "tgram://123456789:abcdefghijklmnopqrstuvwxyz012345678/1234"]
        )
        self.assertEqual(2, len(notifier.targets))
        self.assertNotIn("example", "".join(notifier.targets))

    def test_no_failure_says_where_it_was_going(self) -> None:
        lines, said = io.StringIO(), logging.getLogger()
        handler = logging.StreamHandler(lines)
        said.addHandler(handler)
        self.addCleanup(said.removeHandler, handler)
        notifier = AppriseNotifier([f"json://user:{SECRET}@{self.address}/{SECRET}"])
        self.receiver.script(Reply(500))
        with redirect_stderr(lines):
            notifier.tell(notifier.targets[0], MESSAGE)
            with mock.patch.object(NotifyBase, "notify", raising):
                self.assertFalse(notifier.tell(notifier.targets[0], MESSAGE))
        self.assertNotIn(SECRET, lines.getvalue())
        self.assertIn("RuntimeError", lines.getvalue())
