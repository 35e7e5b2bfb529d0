"""One message to every target of ALERT_URLS, at once and past the outbox, to see that it arrives."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from trading.bootstrap import build_courier, get_desk
from trading.checks import DESK
from trading.conf import ConfigurationError
from trading.domain.alerts import Message, Urgency
from trading.domain.errors import DeskError


class Command(BaseCommand):
    help = "Send one test alert to every target of ALERT_URLS; exit 1 when one did not take it."
    requires_system_checks = (DESK,)

    def handle(self, *args: Any, **options: Any) -> None:
        """Raises CommandError without targets, and when one did not take it. Targets are told by their place in the
        list: an address is a secret."""
        try:
            courier = build_courier(get_desk())
        except ConfigurationError as error:
            raise CommandError("the configuration is wrong:\n  " + error.detail, returncode=3) from error
        except DeskError as error:
            raise CommandError(f"{error.code}: {error.detail}") from error
        if courier is None:
            raise CommandError("ALERT_URLS is empty; set it to the addresses that alerts are to go to")
        now, targets = courier.desk.clock.now(), courier.notifier.targets
        title, body = f"{courier.sender}: test", "This is a test. Alerts of this desk arrive here."
        message = Message("test", title, body, Urgency.INFO, now, now, targets)
        failed = 0
        for number, target in enumerate(targets, start=1):
            taken = courier.notifier.tell(target, message)
            failed += not taken
            self.stdout.write(f"target {number}: {'taken' if taken else 'NOT taken'}")
        if failed:
            raise CommandError(f"{failed} of {len(targets)} targets did not take it; see ALERT_URLS and the network")
