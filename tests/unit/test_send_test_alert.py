"""manage.py send_test_alert: every target hears it, and which did not is said without its address."""

import io
from dataclasses import replace

from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import SimpleTestCase

from tests.engine.bent_venue import a_bent_scene
from tests.servers.sibling import Reply, Sibling
from trading import bootstrap


class SendTestAlertTest(SimpleTestCase):
    def setUp(self) -> None:
        self.receiver = self.enterContext(Sibling())
        self.address = self.receiver.url.replace("http", "json", 1)

    def sent(self, *urls: str) -> str:
        scene, _ = a_bent_scene(self)
        desk = replace(scene.desk, config=scene.desk.config.model_copy(update={"alert_urls": urls}))
        out = io.StringIO()
        with bootstrap.use_desk(desk):
            call_command("send_test_alert", stdout=out)
        return out.getvalue()

    def refused(self, *urls: str) -> str:
        with self.assertRaises(CommandError) as refusal:
            self.sent(*urls)
        return str(refusal.exception)

    def test_every_target_hears_it(self) -> None:
        other = self.enterContext(Sibling())
        words = self.sent(self.address, other.url.replace("http", "json", 1))
        self.assertEqual("target 1: taken\ntarget 2: taken\n", words)
        for receiver in (self.receiver, other):
            self.assertIn("Alerts of this desk arrive here", str(receiver.received[0].json["message"]))

    def test_one_that_does_not_take_it_is_named_by_its_place(self) -> None:
        self.receiver.script(Reply(500))
        words = self.refused(self.address)
        self.assertIn("1 of 1 targets did not take it", words)
        self.assertNotIn(self.address, words)

    def test_without_targets_and_with_a_wrong_one_it_says_what_to_do(self) -> None:
        self.assertIn("ALERT_URLS is empty", self.refused())
        self.assertIn("ALERT_URLS: entry 1", self.refused("nonsense"))
