"""Errors as the caller sees them: one table, complete, and silent about bugs."""

import logging
from collections.abc import Iterator
from decimal import Decimal
from unittest import mock

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404
from django.test import RequestFactory, SimpleTestCase, override_settings
from rest_framework import exceptions

from tests.api.base import ApiTestCase, told
from trading import problems
from trading.conf import ConfigurationError
from trading.domain import errors
from trading.domain.errors import DeskError
from trading.utils.risk_controls import Breach, BreachCode

SECRET = "0xsecret"
FACT_KEYS = ("reasoning", "risk_score", "status", "code")


class NamelessError(DeskError):
    """An error that somebody adds and forgets to give a row."""

    code = "NAMELESS"


def every_error(of: type[DeskError] = DeskError) -> Iterator[type[DeskError]]:
    """Those of the domain's tree, and what the engine has added to it."""
    yield of
    for one in of.__subclasses__():
        yield from every_error(one)


class TableTest(SimpleTestCase):
    def test_every_domain_error_has_a_row(self) -> None:
        # A configuration error ends the process before there is a caller.
        ours = [one for one in every_error() if one.__module__.startswith("trading.")]
        codes = {one.code for one in ours if one is not ConfigurationError}
        self.assertEqual(set(), codes - set(problems.STATUSES))

    def test_every_status_has_a_title(self) -> None:
        self.assertEqual(set(), set(problems.STATUSES.values()) - set(problems.TITLES))

    def test_the_statuses_are_those_of_the_contract(self) -> None:
        table = {
            400: ("INVALID_REQUEST",),
            401: ("NOT_AUTHENTICATED", "TOKEN_UNKNOWN"),
            403: ("FORBIDDEN",),
            404: ("SIGNAL_NOT_FOUND", "POSITION_NOT_FOUND", "TRADE_NOT_FOUND"),
            409: (
                *("SIGNAL_NOT_PENDING", "SIGNAL_EXPIRED", "SIGNAL_LOW_CONFIDENCE", "IDEMPOTENCY_MISMATCH"),
                *("TRADING_HALTED", "MONITOR_DOWN", "STOP_IN_PROGRESS", "RESUME_REFUSED", "TRADE_NOT_SUSPENDED"),
                "TRADE_CANCELED",
            ),
            422: ("RISK_DENIED", "GUARDIAN_REJECTED"),
            429: ("THROTTLED",),
            502: ("VENUE_REJECTED",),
            503: ("GUARDIAN_UNAVAILABLE", "SCOUT_UNAVAILABLE", "VENUE_UNAVAILABLE", "STORE_CORRUPT"),
        }
        for status, codes in table.items():
            for code in codes:
                with self.subTest(code):
                    self.assertEqual(status, problems.STATUSES[code])


class TranslationTest(SimpleTestCase):
    def test_facts_come_along_and_cannot_replace_what_every_problem_has(self) -> None:
        error = errors.GuardianRejected("too risky", reasoning="thin", risk_score=Decimal("0.9"), status="x", code="y")
        body = problems.of_exception(error).body
        self.assertEqual(("thin", 0.9, 422, "GUARDIAN_REJECTED"), tuple(body[k] for k in FACT_KEYS))

    def test_all_breaches_are_told_as_numbers(self) -> None:
        breach = Breach(BreachCode.LEVERAGE_EXCEEDED, Decimal(3), Decimal(5), "leverage 5 is above 3")
        body = problems.of_exception(errors.RiskDenied("no", breaches=(breach,))).body
        (told_breach,) = body["breaches"] if isinstance(body["breaches"], list) else []
        self.assertEqual(
            {"code": "LEVERAGE_EXCEEDED", "limit": 3.0, "actual": 5.0},
            {key: told_breach[key] for key in ("code", "limit", "actual")} if isinstance(told_breach, dict) else {},
        )

    def test_a_number_the_arithmetic_refuses_is_the_callers_to_mend(self) -> None:
        problem = problems.of_exception(errors.InvalidNumber("leverage", "leverage must be above zero"))
        self.assertEqual((400, "INVALID_REQUEST"), (problem.status, problem.code))
        self.assertEqual({"leverage": "leverage must be above zero"}, problem.body["fields"])

    def test_somebody_elses_seat_is_worth_another_try(self) -> None:
        problem = problems.of_exception(errors.Busy("somebody works it"))
        self.assertEqual((503, {"Retry-After": "1"}), (problem.status, problem.headers))

    def test_a_throttled_caller_hears_when_to_come_back(self) -> None:
        for wait, seconds in ((None, "1"), (0.2, "1"), (7.5, "8")):
            with self.subTest(wait):
                problem = problems.of_exception(exceptions.Throttled(wait))
                self.assertEqual((429, seconds), (problem.status, problem.headers["Retry-After"]))

    def test_foreign_exceptions_become_problems_too(self) -> None:
        table: tuple[tuple[Exception, int, str], ...] = (
            (exceptions.ParseError("x"), 400, "INVALID_REQUEST"),
            (exceptions.UnsupportedMediaType("text/plain"), 400, "INVALID_REQUEST"),
            (exceptions.NotAuthenticated(), 401, "NOT_AUTHENTICATED"),
            (exceptions.PermissionDenied("x"), 403, "FORBIDDEN"),
            (PermissionDenied(), 403, "FORBIDDEN"),
            (Http404(), 404, "NOT_FOUND"),
            (exceptions.MethodNotAllowed("PUT"), 405, "METHOD_NOT_ALLOWED"),
            (SuspiciousOperation(SECRET), 400, "INVALID_REQUEST"),
        )
        for error, status, code in table:
            with self.subTest(type(error).__name__):
                problem = problems.of_exception(error)
                self.assertEqual((status, code), (problem.status, problem.code))
                self.assertNotIn(SECRET, str(problem.body))

    def test_bugs_are_logged_with_their_traceback_and_told_without(self) -> None:
        for error in (
            ZeroDivisionError(SECRET),
            errors.InvariantBroken(SECRET),
            DeskError(SECRET),
            NamelessError(SECRET),
        ):
            with self.subTest(type(error).__name__), self.assertLogs("trading.problems", logging.ERROR) as logged:
                self.assertIs(problems.INTERNAL, problems.of_exception(error))
            self.assertIn(SECRET, str(logged.records[0].exc_info))

    def test_djangos_own_error_views_are_problems(self) -> None:
        request = RequestFactory().get("/")
        table = (
            (problems.bad_request(request, SuspiciousOperation()), 400),
            (problems.bad_request(request, ValueError(SECRET)), 400),
            (problems.permission_denied(request, None), 403),
            (problems.not_found(request, None), 404),
            (problems.server_error(request), 500),
        )
        for response, status in table:
            with self.subTest(status):
                self.assertEqual((status, problems.CONTENT_TYPE), (response.status_code, response["Content-Type"]))
                self.assertEqual(status, told(response)["status"])


class BugTest(ApiTestCase):
    def test_a_bug_in_a_route_or_its_rendering_is_a_500_without_a_traceback_also_while_debugging(self) -> None:
        for debug in (False, True):
            for place in ("trading.views.queries.portfolio", "rest_framework.renderers.JSONRenderer.render"):
                with (
                    self.subTest(place, debug=debug),
                    override_settings(DEBUG=debug),
                    mock.patch(place, side_effect=ZeroDivisionError(SECRET)),
                    self.assertLogs("trading.problems", logging.ERROR),
                    self.assertLogs("django.request", logging.ERROR),
                ):
                    response = self.get("/api/portfolio")
                    self.assert_problem(response, 500, "INTERNAL_ERROR")
                    self.assertNotIn(SECRET, response.content.decode())
