"""Random requests to every route, made from the API's own document: no 5xx, and every answer as the document says.

Always the same ones and few of them in `make test`; FUZZ_EXAMPLES makes more, and then each run makes others.
"""

import os
import tempfile
import unittest
from pathlib import Path
from typing import Any, ClassVar

from tests.api.base import ApiTestCase, told
from tests.fakes import FakeClock

try:
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis import GenerationMode, openapi
    from schemathesis.checks import CHECKS, load_all_checks
except ImportError:
    raise unittest.SkipTest("schemathesis is not installed (requirements-dev.txt)") from None

from django.core.wsgi import get_wsgi_application

from trading import bootstrap
from trading.conf import Config
from trading.middleware import WsgiDoor

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
EXAMPLES_FEW = 8
NEVER_ENDS = "/api/events"
# No schema can say what these check: that a gap is smaller than its arm, a signal untraded, a trade suspended.
RULED = (
    *("/api/trades/execute", "/api/trades/preview", "/api/trades/{id}/resume", "/api/positions/{id}"),
    "/api/demo/scenario",
)
OPENINGS = (
    {"signal_id": "fuzz_1", "position_size": 1000, "pair": "BTC/ETH"},
    {"signal_id": "fuzz_2", "position_size": 6000, "pair": "SOL/AVAX"},
)
QUIET = settings(
    max_examples=EXAMPLES or EXAMPLES_FEW,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    phases=(Phase.generate, Phase.shrink) if EXAMPLES else (Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


class FuzzTest(ApiTestCase):
    document: ClassVar[Any]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        load_all_checks()
        cls.document = openapi.from_wsgi("/api/schema?format=json", WsgiDoor(get_wsgi_application()))

    def test_every_answer_is_one_that_the_document_knows(self) -> None:
        operations = [result.ok() for result in self.document.get_all_operations()]
        self.assertGreater(len(operations), 15)
        for operation in operations:
            for mode in GenerationMode:
                for known in (False, True) if "{id}" in operation.path else (False,):
                    if operation.path != NEVER_ENDS and (mode is GenerationMode.POSITIVE or takes_anything(operation)):
                        with self.subTest(operation.label, mode=mode.value, known=known):
                            self.fuzz(operation, mode, known=known)

    def fuzz(self, operation: Any, mode: GenerationMode, *, known: bool) -> None:
        """At a desk of its own; with *known* for a trade or a position that exists there."""
        folder = self.enterContext(tempfile.TemporaryDirectory(prefix="executor_fuzz_"))
        config = Config.of(**{**self.defaults(), "data_dir": Path(folder) / "data"})
        self.enterContext(bootstrap.use_desk(bootstrap.build_desk(config, FakeClock())))
        ids = self.opened() if known else {}
        kind = "trade_id" if "/trades/" in operation.path else "position_id"
        unwanted = [CHECKS.get_one("positive_data_acceptance")] if operation.path in RULED else []

        @QUIET
        @given(operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            if known:
                case.path_parameters = {"id": ids[kind]}
            case.call_and_validate(excluded_checks=unwanted)

        ask()

    def opened(self) -> dict[str, Any]:
        answers = [told(self.execute(body)) for body in OPENINGS]
        return {name: answers[-1][name] for name in ("trade_id", "position_id")}


def takes_anything(operation: Any) -> bool:
    """Whether there is something that a request could get wrong."""
    return bool(operation.body) or any(True for _ in operation.iter_parameters())
