"""A client before a desk of its own: the paper venue, a clock that stands still, files in a folder that goes away."""

import hashlib
import json
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

from django.http import HttpResponse
from django.test import SimpleTestCase, override_settings

from tests.fakes import FakeClock
from trading import bootstrap
from trading.conf import Config

EXECUTE = "/api/trades/execute"
PROBLEM = "application/problem+json"
LOGS = ("agent_logs.json",)
LOCKS = "locks"


@override_settings(
    ALLOWED_HOSTS=["testserver", "localhost", "127.0.0.1"], CORS_ALLOWED_ORIGINS=["http://localhost:3000"]
)
class ApiTestCase(SimpleTestCase):
    """`configured` overrides the demo's configuration."""

    configured: ClassVar[Mapping[str, object]] = {}

    def setUp(self) -> None:
        missed = logging.getLogger("trading.utils.redis_cache")
        self.addCleanup(missed.setLevel, missed.level)
        missed.setLevel(logging.ERROR)
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="executor_api_")))
        self.clock = FakeClock()
        self.desk = bootstrap.build_desk(Config.of(**{**self.defaults(), **self.configured}), clock=self.clock)
        self.enterContext(bootstrap.use_desk(self.desk))

    def defaults(self) -> dict[str, object]:
        """Nothing listens at the cache's address: Redis is not needed for any answer. A clock that stands still would
        never let anybody in again who was throttled."""
        unthrottled = {"throttle_read_per_minute": 0, "throttle_trade_per_minute": 0}
        return {"data_dir": self.folder / "data", "redis_url": "redis://127.0.0.1:1/3", **unthrottled}

    def send(self, method: str, path: str, body: object = None, **headers: str) -> HttpResponse:
        """*body* as JSON; bytes go as they are, None is no body at all. Header names with _ for -."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        kind = sent.pop("Content-Type", "application/json")
        return self.send_raw(method, path, raw, kind, headers=sent)

    def send_raw(
        self, method: str, path: str, raw: bytes, kind: str = "application/json", **environ: Any
    ) -> HttpResponse:
        """As it is, with the WSGI environment changed."""
        return cast(HttpResponse, self.client.generic(method, path, raw, kind, **environ))

    def get(self, path: str, **headers: str) -> HttpResponse:
        return self.send("GET", path, **headers)

    def post(self, path: str, body: object = None, **headers: str) -> HttpResponse:
        return self.send("POST", path, body, **headers)

    def execute(self, body: object, **headers: str) -> HttpResponse:
        return self.post(EXECUTE, body, **headers)

    def assert_problem(self, response: HttpResponse, status: int, code: str) -> dict[str, Any]:
        """It is a problem of this kind, complete, and its body is returned."""
        self.assertEqual((status, response["Content-Type"]), (response.status_code, PROBLEM), response.content)
        body: dict[str, Any] = told(response)
        self.assertEqual(code, body["code"], body)
        self.assertEqual(status, body["status"])
        self.assertTrue(body["title"] and body["type"].endswith(code.lower()))
        self.assertTrue(body["detail"])
        self.assertEqual(body["detail"], body["error"])
        self.assertNotIn("Traceback", response.content.decode())
        return body

    def assert_invalid(self, response: HttpResponse, *fields: str) -> dict[str, Any]:
        """A 400 that names exactly *fields*, each with its remedy."""
        body = self.assert_problem(response, 400, "INVALID_REQUEST")
        self.assertEqual(sorted(fields), sorted(body["fields"]), body)
        self.assertTrue(all(body["fields"].values()))
        return body

    def facts_on_disk(self) -> dict[str, str]:
        """A digest of every file but the log: equal before and after means that nothing was written but log lines."""
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path.name not in LOGS and LOCKS not in path.parts
        }


def told(response: HttpResponse) -> Any:
    """The body as JSON."""
    return json.loads(response.content)
