"""Taking over what the account holds and no position says: as an opening that was filled at once, only to be closed.

The law: nothing is taken over twice, by whomever and however often it is looked at.
"""

from trading.domain.book import Book
from trading.domain.exit_plan import ExitPlan
from trading.domain.market import Account, Holding, Pair
from trading.domain.orders import Side
from trading.domain.trades import LegPlan, PositionEffect, Slice, Terms, position_id_of
from trading.domain.units import DOLLAR, ONE, ZERO, Price, Quantity, Ratio, TradeId, Usd, hash_of
from trading.engine.desk import Desk


def next_adoption(desk: Desk, book: Book, holding: Holding, account: Account) -> Terms | None:
    """The terms of the next adoption of a coin; None when somebody has taken it over since *account* was read."""
    leverage, number = account.leverages.get(holding.coin, 1), 1
    while (known := book.find_trade((terms := _adoption(desk, holding, number, leverage)).trade_id)) is not None:
        if known.ended_at is None or known.ended_at >= account.taken_at:
            return None
        number += 1
    return terms


def _adoption(desk: Desk, holding: Holding, number: int, leverage: int) -> Terms:
    """The terms under which the desk takes over a holding, at the venue's entry price, only to close it. The number
    keeps two who look at the same time from taking it over twice."""
    now, config = desk.clock.now(), desk.config
    trade_id = TradeId("trd_" + hash_of("adopt", holding.coin, number)[:24])
    quantity, usd = Quantity(abs(holding.quantity)), Usd(abs(holding.quantity) * holding.entry_price)
    is_long = holding.quantity > 0
    held, nothing = (holding.coin, quantity, holding.entry_price), (DOLLAR, Quantity(ZERO), Price(ONE))
    (long_coin, bought, long_price), (short_coin, sold, short_price) = (held, nothing) if is_long else (nothing, held)
    return Terms(
        trade_id=trade_id,
        position_id=position_id_of(trade_id),
        effect=PositionEffect.OPEN,
        pair=Pair(holding.coin, DOLLAR),
        long=LegPlan(long_coin, Side.BUY, bought, long_price),
        short=LegPlan(short_coin, Side.SELL, sold, short_price),
        slices=(Slice(1, now, bought, sold),),
        slice_interval_seconds=ZERO,
        gives_up_at=now,
        accepted_at=now,
        slippage_max=Ratio(config.max_slippage),
        leverage=leverage,
        requested_usd=usd,
        exit_plan=ExitPlan(Ratio(config.take_profit), Ratio(config.stop_loss)),
    )
