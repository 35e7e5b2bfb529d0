"""Alerts: every trouble is told once, a storm is a few messages, and nothing grows without bound."""

import unittest
from datetime import datetime, timedelta

from tests.builders import T0, after
from trading.domain import alerts
from trading.domain.alerts import (
    Alert,
    LogLine,
    Outbox,
    Urgency,
    after_try,
    alert_of,
    due_messages,
    with_lines,
    with_message,
)
from trading.domain.codec import decode_outbox, encode_outbox

TARGETS = ("one", "two")


def a_line(number: int = 1, at: datetime = T0, urgency: Urgency = Urgency.ERROR, **facts: str) -> LogLine:
    return LogLine(f"line_{number}", at, urgency, f"line {number}", facts)


def suspended(number: int = 1, at: datetime = T0, trade: str = "trd_1") -> LogLine:
    return a_line(number, at, event="TradeSuspended", trade_id=trade)


def packed(outbox: Outbox, now: datetime = T0) -> Outbox:
    return with_message(outbox, TARGETS, "desk", now)


class LineTest(unittest.TestCase):
    def test_every_named_event_is_told_under_its_title(self) -> None:
        for event, title in alerts.TITLES.items():
            with self.subTest(event):
                alert = alert_of(a_line(urgency=Urgency.INFO, event=event))
                assert alert is not None
                self.assertTrue(alert.title.startswith(title))

    def test_opening_that_stops_is_told_with_its_cause(self) -> None:
        for cause, words in alerts.CAUSES.items():
            alert = alert_of(a_line(event="OpeningStopped", cause=cause))
            assert alert is not None
            self.assertEqual(f"opening stopped: {words}", alert.title)
        unnamed = alert_of(a_line(event="OpeningStopped", cause="NEW_CAUSE"))
        assert unnamed is not None
        self.assertEqual("opening stopped: NEW_CAUSE", unnamed.title)

    def test_an_error_without_a_name_is_told_and_a_line_of_no_interest_is_not(self) -> None:
        alert = alert_of(a_line())
        assert alert is not None
        self.assertEqual(("error", "line 1"), (alert.title, alert.text))
        self.assertIsNone(alert_of(a_line(urgency=Urgency.WARNING)))
        self.assertIsNone(alert_of(a_line(urgency=Urgency.INFO, event="TradeAccepted")))

    def test_an_exit_is_told_unless_a_person_asked_for_it(self) -> None:
        for reason, told in {"STOP_LOSS": True, "TIME_LIMIT": True, "MANUAL": False, "EMERGENCY_STOP": False}.items():
            alert = alert_of(a_line(urgency=Urgency.INFO, event="ExitFired", reason=reason))
            self.assertEqual(told, alert is not None, reason)

    def test_troubles_of_two_trades_are_two_and_of_one_trade_one(self) -> None:
        keys = [alert.key for one in ("a", "b", "a") if (alert := alert_of(suspended(trade=one))) is not None]
        self.assertEqual((3, 2), (len(keys), len(set(keys))))


class ReadingTest(unittest.TestCase):
    def test_a_line_is_told_once_however_often_it_is_read(self) -> None:
        once = with_lines(Outbox(), [suspended()], T0)
        again = with_lines(once, [suspended()], after(1))
        self.assertEqual(1, len(again.waiting))
        self.assertEqual(once, again)

    def test_a_late_line_is_told_although_a_newer_one_was_read_already(self) -> None:
        first = with_lines(Outbox(), [suspended(1, after(5), "a")], after(5))
        second = with_lines(first, [suspended(1, after(5), "a"), suspended(2, after(1), "b")], after(6))
        self.assertEqual(["line 1", "line 2"], [one.text for one in second.waiting])

    def test_a_new_outbox_looks_back_a_minute_and_one_that_knows_where_it_was_looks_back_to_there(self) -> None:
        old = suspended(1, after(-120))
        self.assertEqual((), with_lines(Outbox(), [old], T0).waiting)
        self.assertEqual(1, len(with_lines(Outbox(read_until=after(-200)), [old], T0).waiting))

    def test_what_is_older_than_a_day_is_not_told(self) -> None:
        outbox = Outbox(read_until=T0 - timedelta(days=3))
        self.assertEqual((), with_lines(outbox, [suspended(1, T0 - timedelta(days=2))], T0).waiting)

    def test_a_line_from_the_future_does_not_hide_those_of_the_present(self) -> None:
        outbox = with_lines(Outbox(), [suspended(1, T0 + timedelta(days=1), "a")], T0)
        outbox = with_lines(outbox, [suspended(2, after(30), "b")], after(30))
        self.assertEqual(2, len(outbox.waiting))

    def test_a_clock_that_is_set_back_silences_nothing(self) -> None:
        """Nothing was told until it was there again: a clock that was an hour ahead hid an hour."""
        ahead = T0 + timedelta(hours=1)
        outbox, lines = Outbox(read_until=ahead - timedelta(seconds=300)), list[LogLine]()
        for number in range(3):
            lines.append(suspended(number, ahead - timedelta(seconds=200 - 90 * number), f"ahead_{number}"))
            outbox = packed(with_lines(outbox, lines, lines[-1].at), lines[-1].at)
        outbox = after_try(outbox, outbox.messages[0], TARGETS, ahead)
        self.assertEqual(3, len(outbox.messages))
        lines.append(suspended(9, T0, "now"))
        outbox = with_lines(outbox, lines, after(1))
        self.assertEqual(["line 9"], [one.text for one in outbox.waiting])
        self.assertEqual(outbox, with_lines(outbox, lines, after(1)))
        self.assertEqual(3, len(due_messages(outbox, after(1) + alerts.RETRY_MAX)))
        lines.append(suspended(10, after(1000), "ahead_2"))
        outbox = with_lines(outbox, lines, after(1000))
        self.assertEqual(["line 9", "line 10"], [one.text for one in outbox.waiting])
        self.assertEqual((), packed(outbox, after(1000)).made[1:], "messages of the hour ahead still count")

    def test_a_log_that_says_nothing_changes_nothing(self) -> None:
        outbox = with_lines(Outbox(), [], T0)
        self.assertEqual(Outbox(read_until=T0), outbox)
        self.assertEqual(outbox, with_lines(outbox, [], after(60)))


class RepeatTest(unittest.TestCase):
    def repeated(self, times: int) -> Outbox:
        outbox = Outbox()
        for number in range(times):
            outbox = with_lines(outbox, [suspended(number, after(number))], after(number))
        return outbox

    def test_the_same_trouble_is_told_again_after_a_pause_with_its_count(self) -> None:
        outbox = packed(self.repeated(4), after(4))
        self.assertEqual(1, outbox.messages[0].body.count("\n") + 1)
        later = with_lines(outbox, [], after(901))
        self.assertEqual(["3 more times since 2026-11-22 12:00:00Z: line 3"], [one.text for one in later.waiting])
        self.assertEqual(0, later.told[0].held_back)

    def test_one_repetition_is_told_in_the_singular(self) -> None:
        later = with_lines(packed(self.repeated(2), after(2)), [], after(901))
        self.assertIn("1 more time since", later.waiting[0].text)

    def test_a_trouble_that_does_not_come_again_is_forgotten(self) -> None:
        later = with_lines(self.repeated(1), [], after(901))
        self.assertEqual((), later.told)

    def test_after_a_resume_the_same_trouble_is_a_new_one(self) -> None:
        outbox = self.repeated(1)
        outbox = with_lines(outbox, [a_line(8, after(10), Urgency.SUCCESS, event="DeskResumed")], after(10))
        outbox = with_lines(outbox, [suspended(9, after(20))], after(20))
        self.assertEqual(["line 0", "line 8", "line 9"], [one.text for one in outbox.waiting])


class MessageTest(unittest.TestCase):
    def waiting(self, count: int, urgency: Urgency = Urgency.ERROR) -> Outbox:
        lines = [a_line(number, T0, urgency, event="TradeSuspended", trade_id=str(number)) for number in range(count)]
        return with_lines(Outbox(), lines, T0)

    def test_one_message_carries_all_that_waits(self) -> None:
        outbox = packed(self.waiting(3))
        self.assertEqual((), outbox.waiting)
        (message,) = outbox.messages
        self.assertEqual(("desk: trade suspended and 2 more", TARGETS), (message.title, message.left))
        self.assertEqual(3, len(message.body.splitlines()))
        self.assertEqual("2026-11-22 12:00:00Z trade suspended: line 0", message.body.splitlines()[0])

    def test_the_gravest_names_the_message(self) -> None:
        lines = [
            a_line(1, T0, Urgency.INFO, event="ExitFired", reason="STOP_LOSS"),
            suspended(2),
            a_line(3, T0, Urgency.SUCCESS, event="VenueBack"),
        ]
        message = packed(with_lines(Outbox(), lines, T0)).messages[0]
        self.assertEqual((Urgency.ERROR, "desk: trade suspended and 2 more"), (message.urgency, message.title))

    def test_a_long_message_says_how_much_it_leaves_out(self) -> None:
        lines = packed(self.waiting(22)).messages[0].body.splitlines()
        self.assertEqual((21, "2 earlier alerts are in the activity log"), (len(lines), lines[0]))
        lines = packed(self.waiting(21)).messages[0].body.splitlines()
        self.assertEqual("1 earlier alert is in the activity log", lines[0])

    def test_what_waits_is_bounded_and_what_is_dropped_is_counted(self) -> None:
        outbox = self.waiting(alerts.WAITING_MAX + 5)
        self.assertEqual((alerts.WAITING_MAX, 5), (len(outbox.waiting), outbox.dropped))
        self.assertLessEqual(len(outbox.told), alerts.TOLD_MAX)
        outbox = packed(outbox)
        self.assertIn("185 earlier alerts", outbox.messages[0].body)
        self.assertEqual(0, outbox.dropped)

    def test_no_more_messages_than_the_pace_allows_and_what_waited_goes_with_the_next(self) -> None:
        outbox = Outbox()
        for number in range(alerts.MESSAGES_A_WINDOW + 3):
            outbox = with_lines(outbox, [suspended(number, after(number), str(number))], after(number))
            outbox = packed(outbox, after(number))
        self.assertEqual((alerts.MESSAGES_A_WINDOW, 3), (len(outbox.messages), len(outbox.waiting)))
        outbox = packed(outbox, after(620))
        self.assertEqual((alerts.MESSAGES_A_WINDOW + 1, 0), (len(outbox.messages), len(outbox.waiting)))
        self.assertEqual("desk: trade suspended and 2 more", outbox.messages[-1].title)

    def test_without_targets_nothing_is_made(self) -> None:
        outbox = self.waiting(1)
        self.assertEqual(outbox, with_message(outbox, (), "desk", T0))

    def test_messages_are_bounded(self) -> None:
        outbox = Outbox()
        for number in range(alerts.MESSAGES_MAX + 5):
            at = after(700 * number)
            outbox = packed(with_lines(outbox, [suspended(number, at, str(number))], at), at)
        self.assertEqual(alerts.MESSAGES_MAX, len(outbox.messages))


class DeliveryTest(unittest.TestCase):
    def setUp(self) -> None:
        self.outbox = packed(with_lines(Outbox(), [suspended()], T0))

    def test_a_message_that_all_have_taken_is_gone(self) -> None:
        self.assertEqual((), after_try(self.outbox, self.outbox.messages[0], (), T0).messages)

    def test_one_that_was_not_taken_is_offered_again_to_those_that_lack_it_with_growing_pauses(self) -> None:
        now, pauses = T0, []
        for _ in range(9):
            (message,) = due_messages(self.outbox, now)
            self.outbox = after_try(self.outbox, message, ("two",), now)
            (again,) = self.outbox.messages
            self.assertEqual(("two",), again.left)
            self.assertEqual((), due_messages(self.outbox, now))
            pauses.append((again.due_at - now).total_seconds())
            now = again.due_at
        self.assertEqual([10, 20, 40, 80, 160, 320, 600, 600, 600], pauses)

    def test_after_a_day_it_is_given_up(self) -> None:
        late = T0 + timedelta(days=1, seconds=1)
        self.assertEqual((), after_try(self.outbox, self.outbox.messages[0], ("one",), late).messages)


class CodecTest(unittest.TestCase):
    def test_an_outbox_comes_back_as_it_went(self) -> None:
        outbox = packed(with_lines(Outbox(), [suspended(1), suspended(2)], T0))
        outbox = with_lines(outbox, [suspended(3, after(1), "other")], after(1))
        self.assertEqual(outbox, decode_outbox(encode_outbox(outbox)))
        self.assertIsInstance(outbox.waiting[0], Alert)
