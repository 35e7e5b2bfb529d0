"""Faults staged on the demo's paper venue: each does what its page says, for every process, and ends by itself."""

import hashlib
from dataclasses import replace
from decimal import Decimal
from typing import Any, ClassVar

from tests import scenarios
from tests.api.base import ApiTestCase, told
from trading import bootstrap
from trading.adapters.paper_stage import SCENARIOS_MAX, ScriptFile
from trading.conf import Config
from trading.domain.errors import StoreCorrupt
from trading.domain.scenarios import ScenarioKind
from trading.domain.units import Coin

ROUTE = "/api/demo/scenario"
TRADE = {"signal_id": "one", "pair": "SOL/AVAX", "position_size": 1000, "stop_loss": 0.04}
SOL, AVAX = Coin("SOL"), Coin("AVAX")


class PageTest(ApiTestCase):
    def test_each_page_shows_what_the_desk_does_line_by_line(self) -> None:
        self.maxDiff = None
        written = {path.relative_to(scenarios.DOCS).as_posix() for path in (scenarios.DOCS / "scenarios").iterdir()}
        made = scenarios.pages()
        self.assertEqual(made.keys(), {"scenarios.md", *written})
        for name, text in made.items():
            with self.subTest(name):
                shown = (scenarios.DOCS / name).read_text(encoding="utf-8")
                self.assertEqual(shown, text, "write it anew: .venv/bin/python -m tests.scenarios")

    def test_every_kind_has_its_scene(self) -> None:
        self.assertEqual(sorted(ScenarioKind), sorted(one.kind for one in scenarios.SCENES))


class StageTest(ApiTestCase):
    def stage(self, **body: object) -> dict[str, Any]:
        response = self.post(ROUTE, body)
        self.assertEqual(201, response.status_code, response.content)
        staged: dict[str, Any] = told(response)
        return staged

    def test_what_is_staged_is_shown_until_its_time_is_over(self) -> None:
        staged = self.stage(kind="crash", coin="SOL", share=0.2, seconds=30)
        self.assertEqual(("crash", "SOL", 0.2), (staged["kind"], staged["coin"], staged["share"]))
        self.assertEqual([staged], told(self.get(ROUTE)))
        self.clock.advance(30)
        self.assertEqual([], told(self.get(ROUTE)))

    def test_it_can_be_ended_before(self) -> None:
        before = self.desk.venue.quotes([SOL])[SOL].mid
        self.stage(kind="crash", coin="SOL", share=0.2)
        self.assertAlmostEqual(Decimal("0.8"), self.desk.venue.quotes([SOL])[SOL].mid / before, 3)
        self.assertEqual(204, self.send("DELETE", ROUTE).status_code)
        self.assertEqual(before, self.desk.venue.quotes([SOL])[SOL].mid)

    def test_another_process_meets_the_same(self) -> None:
        config = Config.of(**{**self.defaults(), **self.configured})
        other = bootstrap.build_desk(config, clock=self.clock)
        before = other.venue.quotes([SOL])
        self.stage(kind="dead_stream", seconds=5)
        self.assertEqual(({}, {}), (other.venue.quotes([SOL]), other.venue.depths([SOL])))
        self.clock.advance(5)
        self.assertEqual(before.keys(), other.venue.quotes([SOL]).keys())

    def test_stale_prices_are_those_of_the_beginning(self) -> None:
        began = self.clock.now()
        self.stage(kind="stale_prices", coin="SOL")
        self.clock.advance(7)
        quotes, depths = self.desk.venue.quotes([SOL, AVAX]), self.desk.venue.depths([SOL])
        self.assertEqual((began, began), (quotes[SOL].taken_at, depths[SOL].taken_at))
        self.assertEqual(self.clock.now(), quotes[AVAX].taken_at)

    def test_a_halted_coin_is_no_longer_traded(self) -> None:
        self.stage(kind="halted_coin", coin="SOL")
        self.assertTrue(self.desk.venue.instruments()[SOL].delisted)
        body = self.assert_problem(self.execute(TRADE), 422, "RISK_DENIED")
        self.assertIn("COIN_NOT_TRADABLE", {one["code"] for one in body["breaches"]})

    def test_what_makes_no_sense_is_refused(self) -> None:
        for body, field in (
            ({}, "kind"),
            ({"kind": "meteor"}, "kind"),
            ({"kind": "crash"}, "coin"),
            ({"kind": "crash", "coin": "NOSUCH"}, "coin"),
            ({"kind": "liquidation", "coin": "SOL"}, "coin"),
            ({"kind": "crash", "coin": "SOL", "share": 1}, "share"),
            ({"kind": "crash", "coin": "SOL", "seconds": 601}, "seconds"),
            ({"kind": "crash", "coin": "SOL", "other": 1}, "other"),
        ):
            with self.subTest(body):
                self.assert_invalid(self.post(ROUTE, body), field)
        self.assertEqual([], told(self.get(ROUTE)))

    def test_the_script_is_bounded(self) -> None:
        for _ in range(SCENARIOS_MAX + 2):
            self.stage(kind="crash", coin="SOL", share=0.01, seconds=1)
        script = ScriptFile(self.desk.config.data_dir)
        self.assertEqual(SCENARIOS_MAX, len(script.scenarios()))
        self.clock.advance(3 * 3600)
        self.stage(kind="crash", coin="SOL", share=0.01, seconds=1)
        self.assertEqual(1, len(script.scenarios()))

    def test_a_script_that_is_damaged_is_said(self) -> None:
        self.stage(kind="crash", coin="SOL")
        script = ScriptFile(self.desk.config.data_dir)
        script.path.write_bytes(b"{}\n")
        self.assertRaises(StoreCorrupt, script.scenarios)

    def test_a_liquidation_of_a_short_leg_buys(self) -> None:
        self.execute(TRADE)
        staged = self.stage(kind="liquidation", coin="SOL")
        self.assertEqual(("buy", "liquidation"), (staged["fill"]["side"], staged["fill"]["cause"].lower()))
        self.assertEqual(Decimal(0), self.desk.venue.account().held(SOL))


class LiveTest(ApiTestCase):
    configured: ClassVar = {"api_tokens": f"boss:admin:{hashlib.sha256(b'boss').hexdigest()}"}

    def test_there_is_no_stage_outside_of_a_demo(self) -> None:
        live = replace(self.desk, config=self.desk.config.model_copy(update={"demo_mode": False}))
        with bootstrap.use_desk(live):
            for method, body in (("GET", None), ("POST", {"kind": "crash", "coin": "SOL"}), ("DELETE", None)):
                response = self.send(method, ROUTE, body, Authorization="Bearer boss")
                self.assert_problem(response, 404, "NOT_FOUND")
        self.assertEqual([], told(self.get(ROUTE)))
