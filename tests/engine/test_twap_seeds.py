"""Openings and closes in slices under faults drawn from a seed, with restarts, moves and hurries in between."""

import unittest
from random import Random

from tests.engine.scripted_venue import (
    Fault,
    a_scene,
    accepted,
    fine,
    late,
    lost_after,
    lost_before,
    partly,
    refused,
    unknown_for,
)
from trading.domain.exit_plan import ExitReason
from trading.domain.orders import RejectReason
from trading.domain.positions import PositionStatus
from trading.engine import closing
from trading.engine.requests import CloseRequest, TwapRequest

SEEDS = range(24)


def a_fault(chance: Random) -> Fault:
    shares = {coin: str(chance.randint(0, 10) / 10) for coin in ("ETH", "BTC")}
    return chance.choice(
        (
            fine(),
            fine(),
            partly(**shares),
            lost_before(),
            lost_after(),
            lost_after(ETH="0.4"),
            unknown_for(chance.randint(1, 20)),
            accepted(chance.randint(1, 4)),
            late(chance.randint(1, 6)),
            refused(BTC=RejectReason.OTHER),
            refused(ETH=RejectReason.NO_MATCH, BTC=RejectReason.NO_MATCH),
        )
    )


class SeededTwapTest(unittest.TestCase):
    def test_whatever_happens_on_the_way_a_close_in_slices_ends_flat_and_sells_nothing_twice(self) -> None:
        for seed in SEEDS:
            with self.subTest(seed=seed):
                self.walked(Random(seed))

    def walked(self, chance: Random) -> None:
        scene = a_scene(self)
        venue, size = scene.venue, chance.choice((100, 400, 2000, 20_000))
        venue.script(*(a_fault(chance) for _ in range(chance.randint(0, 6))))
        position_id = scene.execute(size=str(size), twap=TwapRequest(40, 8)).position.position_id
        scene.ticks(chance.randint(0, 60))
        bought, sold = venue.held("ETH") * 4_000, -venue.held("BTC") * 100_000
        self.assertLessEqual(bought + sold, size)
        venue.forgive()
        if scene.position(position_id).closed:
            return
        venue.script(*(a_fault(chance) for _ in range(chance.randint(0, 12))))
        slowly = CloseRequest(TwapRequest(chance.choice((10, 40, 100)), chance.choice((2, 5, 9))))
        closing.close_by_hand(scene.desk, position_id, asked=slowly)
        for _ in range(chance.randint(0, 150)):
            scene.tick()
            if chance.random() < 0.02:
                scene = scene.reopened()
            if chance.random() < 0.1:
                venue.move("ETH", str(4_000 + chance.randint(-300, 300)))
        if chance.random() < 0.5:
            closing.close(scene.desk, position_id, chance.choice((ExitReason.STOP_LOSS, ExitReason.MANUAL)))
        venue.forgive()
        scene.ticks(200)
        ended = scene.position(position_id)
        self.assertIs(ended.status, PositionStatus.CLOSED)
        self.assertTrue(venue.flat)
        ids = [order.client_order_id for order in venue.orders]
        self.assertEqual(len(ids), len(set(ids)))
        for leg in ended.legs:
            taken = sum(amount for order, amount, _ in venue.fills if order.coin == leg.coin and order.reduce_only)
            entered = sum(
                amount for order, amount, _ in venue.fills if order.coin == leg.coin and not order.reduce_only
            )
            self.assertEqual(taken, entered)
