"""Properties of the codec: whatever record there is, it comes back from JSON as it went."""

import json
import unittest

try:
    from hypothesis import given, settings
    from hypothesis import strategies as st
except ImportError as error:
    raise unittest.SkipTest("hypothesis is not installed: pip install -r requirements-dev.txt") from error

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import get_args

from trading.domain.codec import (
    decode_event,
    decode_state,
    decode_watch,
    encode_event,
    encode_state,
    encode_watch,
)
from trading.domain.desk_state import DeskState
from trading.domain.market import Pair
from trading.domain.positions import Watch
from trading.domain.trades import Event
from trading.domain.units import Coin

amounts = st.decimals(allow_nan=False, allow_infinity=False, min_value=Decimal("-1e18"), max_value=Decimal("1e18"))
instants = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
coins = st.text(st.characters(categories=["Lu", "Nd"]), min_size=1, max_size=8).map(Coin)
pairs = st.lists(coins, min_size=2, max_size=2, unique=True).map(lambda two: Pair(two[0], two[1]))

st.register_type_strategy(Decimal, amounts)
st.register_type_strategy(datetime, instants)
st.register_type_strategy(Pair, pairs)


class RoundTrip(unittest.TestCase):
    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(event=st.one_of(*(st.from_type(event) for event in get_args(Event))))
    def test_every_event_comes_back(self, event: Event) -> None:
        self.assertEqual(decode_event(json.loads(json.dumps(encode_event(event)))), event)

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(state=st.from_type(DeskState))
    def test_every_desk_state_comes_back(self, state: DeskState) -> None:
        self.assertEqual(decode_state(json.loads(json.dumps(encode_state(state)))), state)

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(watch=st.from_type(Watch))
    def test_every_watch_comes_back(self, watch: Watch) -> None:
        self.assertEqual(decode_watch(json.loads(json.dumps(encode_watch(watch)))), watch)

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(event=st.one_of(*(st.from_type(event) for event in get_args(Event))))
    def test_no_number_with_an_exponent_and_no_float_reaches_the_disk(self, event: Event) -> None:
        text = json.dumps(encode_event(event))
        refuse: Callable[[str], object] = self.fail
        json.loads(text, parse_float=refuse)


if __name__ == "__main__":
    unittest.main()
