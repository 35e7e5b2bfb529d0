"""The numbers that the desk promises, written down a second time: whoever changes one has to mean it.

Most tests go by the names of these constants, and would follow a slip of the keyboard.
"""

import unittest
from datetime import timedelta
from decimal import Decimal
from types import ModuleType

from trading import conf
from trading.adapters import (
    hyperliquid_api,
    hyperliquid_budget,
    hyperliquid_reader,
    hyperliquid_reports,
    pear_direct,
    pear_register,
    pear_reports,
    pear_wire,
)
from trading.conf import Config
from trading.domain import trades
from trading.domain.exit_plan import LOSING, ExitReason
from trading.engine import (
    barriers,
    closing,
    daily_loss,
    emergency,
    entry,
    exits,
    guards,
    late,
    losses,
    monitor,
    outcomes,
    planning,
    playbook,
    protection,
    recovery,
    schedule,
    second_line,
    states,
    unwinding,
    valuing,
    working,
)
from trading.utils import candle_statistics
from trading.utils.risk_controls import Limits

D = Decimal


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


NUMBERS: tuple[tuple[ModuleType, dict[str, object]], ...] = (
    (
        entry,
        {
            "ATTEMPTS_OF_A_SIGNAL_MAX": 3,
            "FUTURE_MAX": seconds(5),
            "ANSWER_SECONDS": 9.0,
        },
    ),
    (planning, {"GRACE_SECONDS_MIN": 60, "SLICE_MINIMUM_CUSHION": D("1.05")}),
    (schedule, {"SENDS_OF_A_SLICE_MAX": 3, "CATCH_UP_MAX": 3}),
    (
        playbook,
        {
            "ENTRY_TTL": seconds(10),
            "CLOSE_TTL": seconds(5),
            "ENTRY_QUOTE_AGE_MAX": seconds(2),
            "APPROVAL_AGE_MAX": seconds(30),
            "COMPLETION_BANDS": (D("0.003"), D("0.006"), D("0.01")),
            "COMPLETION_WINDOW": seconds(5),
            "CLOSE_BANDS": (D("0.01"), D("0.03"), D("0.08")),
            "CLOSE_PAUSE": seconds(5),
            "TRIMS_MAX": 10,
            "TRIM_PATIENCE": seconds(60),
            "DOUBT_PATIENCE": seconds(120),
            "REPAIR_PATIENCE": seconds(180),
            "GONE_PATIENCE": seconds(2),
            "STUCK_PATIENCE": seconds(60),
            "RESIDUE_SHARE_MAX": D("0.05"),
        },
    ),
    (trades, {"OVERFILL_MAX": D("1.2")}),
    (working, {"STEPS_MAX": 64, "SENDS_MAX": 8, "SETTLED_AFTER_EXPIRY": seconds(5)}),
    (closing, {"ANSWER_SECONDS": 8.5}),
    (
        exits,
        {
            "SECOND_READING": timedelta(milliseconds=250),
            "ACCOUNT_AGE_MAX": seconds(10),
            "JUMP": D("0.03"),
            "JUMP_PATIENCE": seconds(1),
            "STRAIN_PATIENCE": seconds(2),
        },
    ),
    (
        valuing,
        {
            "EXIT_PRICE_AGE_MAX": seconds(5),
            "LIQUIDATION_WARN": D("0.20"),
            "LIQUIDATION_NEAR": D("0.10"),
            "MAINTENANCE_WARN": D("0.30"),
            "MAINTENANCE_NEAR": D("0.50"),
        },
    ),
    (
        barriers,
        {
            "TAKE_PROFIT_RANGE": (D("0.001"), D(5)),
            "STOP_LOSS_RANGE": (D("0.002"), D("0.5")),
            "ZSCORE_ROOM": D("0.5"),
        },
    ),
    (candle_statistics, {"CANDLES_MIN": 200}),
    (
        guards,
        {
            "DISTANCE_MAX": D("0.25"),
            "LIQUIDATION_SHARE": D("0.80"),
            "DISTANCE_MIN": D("0.01"),
            "LIMIT_BAND": D("0.10"),
            "MOVE_MIN": D("0.01"),
            "MOVE_INTERVAL": seconds(10),
        },
    ),
    (protection, {"MOVES_PER_MINUTE_MAX": 40, "WAY_SECONDS": 1.0, "LIST_AGE_MAX": seconds(60)}),
    (second_line, {"WIDER": D("1.5"), "FEES_ROOM": D("0.004")}),
    (
        recovery,
        {
            "DRIFT_PATIENCE": seconds(2),
            "FILLS_LAG": seconds(1),
            "FILLS_PATIENCE": seconds(10),
            "CLOSE_DEADLINE": seconds(60),
        },
    ),
    (losses, {"RESTED_REMEMBERED": 64}),
    (late, {"ARRIVES_WITHIN": timedelta(minutes=15), "SEEN_FOR": seconds(1)}),
    (emergency, {"FLAT_READS": 2, "ANSWER_SECONDS": 8.0}),
    (unwinding, {"WRITE_PATIENCE": seconds(3), "GOES_ON_SECONDS": 600.0}),
    (states, {"BEAT_AGE_MAX": seconds(5)}),
    (monitor, {"BLIND_AFTER": seconds(60)}),
    (daily_loss, {"TRANSFERS_EVERY": seconds(60)}),
    (outcomes, {"GIVEN_UP_AFTER": timedelta(hours=24)}),
    (hyperliquid_api, {"SKEW_WARNING": seconds(1), "SKEW_MAX": seconds(2)}),
    (hyperliquid_budget, {"WINDOW_SECONDS": 60, "RESERVE": 4}),
    (hyperliquid_reports, {"ABSENCE_MARGIN": seconds(5)}),
    (
        pear_reports,
        {"OPEN_PATIENCE": seconds(90), "CLOSE_PATIENCE": seconds(15), "ANSWER_SETTLED": seconds(10)},
    ),
    (pear_direct, {"PATIENCE": seconds(10), "LIFE": seconds(5), "BAND": D("0.08")}),
    (pear_register, {"OPEN_WAIT_SECONDS": 3.0, "CLOSE_WAIT_SECONDS": 6.0}),
    (pear_wire, {"NOTIONAL_MIN": D(11), "BUILDER_FEE": D("0.0006"), "SLIPPAGE_MIN": D("0.001")}),
)

DEFAULTS: dict[str, object] = {
    "executor_port": 8004,
    "throttle_read_per_minute": 600,
    "throttle_trade_per_minute": 120,
    "agent_timeout_seconds": 5.0,
    "guardian_timeout_seconds": 8.0,
    "scout_timezone": "UTC",
    "min_signal_confidence": D("0.7"),
    "max_signal_age_seconds": 300,
    "max_positions": 3,
    "max_allocation": D("0.30"),
    "max_leverage": 3,
    "min_portfolio_usd": D(100),
    "margin_reserve": D("0.05"),
    "cooldown_seconds": 900,
    "max_daily_loss": D("0.05"),
    "max_slippage": D("0.003"),
    "max_leg_spread": D("0.005"),
    "cost_share_of_stop": D("0.30"),
    "twap_threshold_usd": D(5000),
    "twap_duration_seconds": 180,
    "twap_slices": 5,
    "twap_jitter": D(0),
    "take_profit": D("0.02"),
    "stop_loss": D("0.01"),
    "trailing_arm": None,
    "trailing_gap": None,
    "max_holding_seconds": None,
    "monitor_interval_seconds": 1.0,
    "paper_equity_usd": D(100_000),
    "paper_seed": 7,
    "venue_weight_per_minute": 1200,
    "pear_api_url": "https://hl-v2.pearprotocol.io",
    "pear_client_id": "APITRADER",
}

LIMITS: dict[str, object] = {
    "max_positions": 3,
    "max_allocation": D("0.30"),
    "max_leverage": 3,
    "min_portfolio_usd": D(100),
    "margin_reserve": D("0.05"),
    "quote_age_max_seconds": D(2),
    "leg_spread_max": D("0.005"),
    "cost_share_of_stop": D("0.30"),
}


class PromisedNumbersTest(unittest.TestCase):
    def test_the_constants(self) -> None:
        for module, promised in NUMBERS:
            found = {name: getattr(module, name) for name in promised}
            with self.subTest(module.__name__):
                self.assertEqual(promised, found)

    def test_the_defaults_of_the_configuration(self) -> None:
        config = Config.of()
        self.assertEqual(DEFAULTS, {name: getattr(config, name) for name in DEFAULTS})

    def test_the_limits_where_nothing_is_configured(self) -> None:
        limits = Limits()
        self.assertEqual(LIMITS, {name: getattr(limits, name) for name in LIMITS})

    def test_what_cools_a_pair_down(self) -> None:
        self.assertEqual({ExitReason.STOP_LOSS, ExitReason.LIQUIDATION, ExitReason.LEG_LOST}, LOSING)

    def test_three_hundred_of_the_venues_weight_are_kept_for_closing(self) -> None:
        self.assertEqual(300, Config.of().venue_weight_per_minute // hyperliquid_budget.RESERVE)

    def test_the_least_budget_has_room_for_an_opening(self) -> None:
        self.assertEqual(
            hyperliquid_reader.OPENING_WEIGHT, conf.WEIGHT_MIN - conf.WEIGHT_MIN // hyperliquid_budget.RESERVE
        )


if __name__ == "__main__":
    unittest.main()
