"""The OpenAPI document: committed as it is, complete, true to the views, and shown on a page of our own."""

import contextlib
import io
import json
import re
import tempfile
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from unittest import mock

import jsonschema  # type: ignore[import-untyped]  # published without types
import yaml
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import SimpleTestCase
from django.urls import resolve
from rest_framework.views import APIView

from tests.api.base import ApiTestCase, told
from tests.api.test_access import API_TOKENS, bearer
from trading import bootstrap, schema, schema_components, schema_routes
from trading.conf import Config, Scope
from trading.domain.orders import Side
from trading.domain.units import Usd
from trading.middleware import PAGE_POLICY
from trading.permissions import OpenInDemo
from trading.ports import Json
from trading.views import PublicView

COMMITTED = Path(settings.BASE_DIR) / "schema.yml"
DOCUMENT = json.loads(schema.document("json"))
TEMPLATE = Path(settings.BASE_DIR) / "trading" / "templates" / "docs.html"


def view_of(name: str) -> type[APIView]:
    _, _, path = name.partition(" ")
    return cast(type[APIView], vars(resolve(path.replace("{id}", "x")).func)["view_class"])


class CommittedTest(SimpleTestCase):
    def test_schema_yml_is_what_the_code_says(self) -> None:
        same = COMMITTED.read_bytes() == schema.document("yaml")
        self.assertTrue(same, "schema.yml has drifted; `make schema` writes it anew")

    def test_it_is_valid_openapi_without_a_warning(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            call_command("spectacular", validate=True, fail_on_warn=True, file=str(Path(folder) / "schema.yml"))

    def test_both_formats_say_the_same(self) -> None:
        self.assertEqual(DOCUMENT, yaml.safe_load(schema.document("yaml")))

    def test_every_reference_leads_somewhere(self) -> None:
        wanted = set(re.findall(r'"\$ref": ?"#/components/([^"]+)"', schema.document("json").decode()))
        have = {f"{kind}/{name}" for kind, names in DOCUMENT["components"].items() for name in names}
        self.assertEqual(set(), wanted - have)
        self.assertEqual(
            set(), {one for one in have - wanted if not one.startswith("securitySchemes/")} - {"schemas/MarkView"}
        )


class TruthTest(SimpleTestCase):
    def test_every_route_of_the_service_is_in_the_document(self) -> None:
        have = {f"{method.upper()} {path}" for path, methods in DOCUMENT["paths"].items() for method in methods}
        self.assertEqual(set(schema_routes.ROUTES), have)

    def test_a_route_that_the_table_lacks_fails_the_check(self) -> None:
        routes = dict(schema_routes.ROUTES)
        del routes["GET /api/portfolio"]
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(schema, "ROUTES", routes),
            contextlib.redirect_stderr(io.StringIO()),
            self.assertRaises(CommandError),
        ):
            call_command("spectacular", fail_on_warn=True, file=str(Path(folder) / "schema.yml"))

    def test_scopes_and_throttles_are_those_of_the_views(self) -> None:
        for name, route in schema_routes.ROUTES.items():
            view = view_of(name)
            with self.subTest(name):
                writes = not name.startswith("GET ")
                scope = None if issubclass(view, PublicView) else vars_of(view, "write_scope") if writes else Scope.READ
                self.assertEqual(scope, route.scope)
                self.assertEqual(route.open_in_demo, OpenInDemo in view.permission_classes)
                free = name.partition(" ")[0] in cast(tuple[str, ...], vars_of(view, "free_methods"))
                self.assertEqual(route.throttled and scope is not None, bool(view.throttle_classes) and not free)
                self.assertTrue(hasattr(view, name.partition(" ")[0].lower()))

    def test_queries_are_taken_by_the_views_that_read_them(self) -> None:
        for name, route in schema_routes.ROUTES.items():
            with self.subTest(name):
                self.assertEqual(bool(route.query), vars_of(view_of(name), "takes_query"))

    def test_every_answer_and_every_error_has_an_example(self) -> None:
        for path, methods in DOCUMENT["paths"].items():
            for method, operation in methods.items():
                for status, answer in operation["responses"].items():
                    with self.subTest(f"{method} {path} {status}"):
                        if status == "204":
                            self.assertNotIn("content", answer)
                            continue
                        first = next(iter(answer["content"].values()))
                        self.assertTrue(first.get("examples") or path in ("/api/schema", "/api/docs", "/metrics"))

    def test_every_example_is_as_its_schema_says(self) -> None:
        checked = 0
        for path, methods in DOCUMENT["paths"].items():
            for method, operation in methods.items():
                bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
                for media in (one for body in bodies for one in body.get("content", {}).values()):
                    for reference in media.get("examples", {}).values():
                        name = reference["$ref"].rpartition("/")[2]
                        with self.subTest(f"{method} {path}", example=name):
                            checked += 1
                            self.validate(DOCUMENT["components"]["examples"][name]["value"], media["schema"])
        self.assertGreater(checked, 100)

    def test_the_codes_of_errors_stand_under_their_statuses(self) -> None:
        for methods in DOCUMENT["paths"].values():
            for operation in methods.values():
                for status, answer in operation["responses"].items():
                    problems = answer.get("content", {}).get("application/problem+json", {})
                    for code in problems.get("examples", ()):
                        self.assertEqual(status, str(DOCUMENT["components"]["examples"][code]["value"]["status"]))

    def validate(self, value: object, of: dict[str, Any]) -> None:
        checker = jsonschema.Draft202012Validator(
            {**of, "components": DOCUMENT["components"]}, format_checker=jsonschema.FormatChecker()
        )
        self.assertEqual([], [error.message for error in checker.iter_errors(value)])


@dataclass(frozen=True)
class Part:
    """Something within."""

    amount: Usd


@dataclass(frozen=True)
class Whole:
    side: Side
    part: Part | None
    parts: tuple[Part, ...]
    by_name: dict[str, Decimal]
    either: str | Decimal
    at: datetime | None
    day: date
    share: float | None
    maybe: Side | None


class RecordTest(SimpleTestCase):
    def test_a_record_becomes_a_schema_with_all_of_its_fields_required(self) -> None:
        records: dict[str, Json] = {}
        self.assertEqual({"$ref": "#/components/schemas/Whole"}, schema_components.schema_of(Whole, records))
        part: Json = {"$ref": "#/components/schemas/Part"}
        side: Json = {"type": "string", "enum": ["buy", "sell"]}
        properties: dict[str, Json] = {
            "side": side,
            "part": {"anyOf": [part, {"type": "null"}]},
            "parts": {"type": "array", "items": part},
            "by_name": {"type": "object", "additionalProperties": {"type": "number"}},
            "either": {"anyOf": [{"type": "string"}, {"type": "number"}]},
            "at": {"type": ["string", "null"], "format": "date-time"},
            "day": {"type": "string", "format": "date"},
            "share": {"type": ["number", "null"]},
            "maybe": {"anyOf": [side, {"type": "null"}]},
        }
        self.assertEqual({"type": "object", "properties": properties, "required": [*properties]}, records["Whole"])
        self.assertEqual("Something within.", cast(dict[str, Json], records["Part"])["description"])


class DemoPageTest(ApiTestCase):
    def test_the_document_is_served_as_yaml_and_as_json(self) -> None:
        for path, kind in (
            ("/api/schema", "application/yaml"),
            ("/api/schema?format=yaml", "application/yaml"),
            ("/api/schema/?format=json", "application/json"),
        ):
            with self.subTest(path):
                response = self.get(path)
                self.assertEqual((200, kind), (response.status_code, response["Content-Type"]))
        self.assertEqual(DOCUMENT, told(self.get("/api/schema?format=json")))
        self.assert_invalid(self.get("/api/schema?format=xml"), "format")

    def test_in_the_demo_anybody_reads_it_through_a_proxy_too(self) -> None:
        for path in ("/api/schema", "/api/docs"):
            self.assertEqual(200, self.get(path, X_Forwarded_For="203.0.113.7").status_code)

    def test_the_page_takes_nothing_from_another_host_and_has_nothing_inline(self) -> None:
        response = self.get("/api/docs")
        page = response.content.decode()
        self.assertEqual((200, PAGE_POLICY), (response.status_code, response["Content-Security-Policy"]))
        self.assertNotIn("unsafe", PAGE_POLICY)
        self.assertNotRegex(page, r"(?i)https?:|//|<style|style=|\son\w+=")
        self.assertNotRegex(page, r"<script(?![^>]*\ssrc=)")
        script = self.static("docs/docs.js")
        self.assertNotRegex(script, r"https?://")
        self.assertIn("validatorUrl: null", script)

    def test_what_the_page_asks_for_is_there_and_nothing_else_of_the_packages_is(self) -> None:
        paths = re.findall(r'(?:src|href)="/static/([^"]+)"', TEMPLATE.read_text(encoding="utf-8"))
        self.assertEqual(5, len(paths))
        for path in paths:
            self.assertIsNotNone(finders.find(path), path)
            response: Any = self.get(f"/static/{path}")
            self.assertEqual(200, response.status_code, path)
            response.close()
        for path in ("redoc/bundles/redoc.standalone.js", "rest_framework/js/default.js", "../settings.py"):
            self.assert_problem(self.get(f"/static/{path}"), 404, "NOT_FOUND")

    def static(self, path: str) -> str:
        return Path(str(finders.find(path))).read_text(encoding="utf-8")

    def test_other_pages_keep_the_strict_policy(self) -> None:
        for path in ("/api/schema", "/api/health", "/api/positions", "/static/docs/docs.js"):
            response: Any = self.get(path)
            self.assertTrue(response["Content-Security-Policy"].startswith("default-src 'none'; frame-ancestors"), path)
            response.close()


class LivePageTest(ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        live = Config.of(**{**self.defaults(), "demo_mode": False, "api_tokens": API_TOKENS})
        self.enterContext(bootstrap.use_desk(replace(self.desk, config=live)))

    def test_document_and_page_take_the_read_scope(self) -> None:
        for path in ("/api/schema", "/api/docs"):
            with self.subTest(path):
                self.assert_problem(self.get(path), 401, "NOT_AUTHENTICATED")
                self.assertEqual(200, self.get(path, **bearer("read")).status_code)


def vars_of(view: type[APIView], name: str) -> object:
    return getattr(view, name)
