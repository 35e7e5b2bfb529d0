"""Content to requests: the way in at the JSON edge; `rendering` is the way out.

The law: reading names every wrong field and every wrong query parameter at once, each with its remedy, and lets no
unknown one pass.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from django.http import QueryDict

from trading.domain.errors import InvalidRequest
from trading.domain.exit_plan import TIME_WINDOWS, TrailingStop
from trading.domain.market import Pair
from trading.domain.positions import PositionStatus
from trading.domain.scenarios import ScenarioKind, ScenarioRequest
from trading.domain.units import Coin, Ratio, Usd
from trading.engine.accounting import DAYS_DEFAULT, DAYS_MAX
from trading.engine.barriers import STOP_LOSS_RANGE, TAKE_PROFIT_RANGE
from trading.engine.requests import CloseRequest, ExecuteRequest, Execution, ExitChange, TwapRequest
from trading.parsers import Content, number_of, shown

POSITION_SIZE_MAX = Decimal("1e12")
SIGNAL_ID_CHARS_MAX = 128
ID_CHARS_MAX = 128
KEY_CHARS_MAX = 255
TOKEN_CHARS_MAX = 512
LEVERAGE_ASKED_MAX = 100  # MAX_LEVERAGE is for the risk controls to enforce; beyond this it is a slip of the keyboard
TWAP_SECONDS_MAX = 86_400
TWAP_SLICES_MAX = 500
SPREAD_RANGE = (Decimal("-0.999999999999"), Decimal("1e12"))
TAKE_PROFIT_Z_RANGE = (Decimal(0), Decimal(10))
STOP_LOSS_Z_RANGE = (Decimal("0.5"), Decimal(20))
TRAILING_ARM_RANGE = (Decimal("0.001"), Decimal(5))
TRAILING_GAP_RANGE = (Decimal("0.0001"), Decimal(5))
HOLDING_SECONDS_MAX = 31_536_000
PAGE_DEFAULT = 100
PAGE_MAX = 1000
COIN_CHARS_MAX = 20
SHARE_RANGE = (Decimal("0.01"), Decimal("0.95"))
SHARE_DEFAULT = Decimal("0.5")
SCENARIO_SECONDS_MAX = 600
SCENARIO_SECONDS_DEFAULT = 30
LOG_LINES_DEFAULT = 50
COINS_ACCEPTED_MAX = 500
FIELDS_TOLD_MAX = 50
FORMATS = ("json", "csv")
SCHEMA_FORMATS = ("yaml", "json")

REMOVABLE = frozenset(
    {
        *("trailing_stop", "max_holding_seconds", "take_profit_usd", "stop_loss_usd"),
        *("take_profit_spread", "stop_loss_spread", "take_profit_z", "stop_loss_z"),
    }
)

_COIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9:@._-]{0,31}|@[0-9]{1,8}")
_UNKNOWN = "is not a known field; leave it out"


def execute_request(content: Mapping[str, Content]) -> ExecuteRequest:
    """The body of POST /api/trades/execute and of its preview. Raises InvalidRequest with every wrong field."""
    body = Fields(content)
    signal_id = body.text("signal_id", SIGNAL_ID_CHARS_MAX, required=True)
    position_size = body.amount("position_size", POSITION_SIZE_MAX)
    pair = body.pair("pair")
    leverage = body.whole("leverage", 1, LEVERAGE_ASKED_MAX)
    execution = body.one_of("execution", tuple(Execution))
    twap = _twap(body, execution)
    take_profit = body.number("take_profit", *TAKE_PROFIT_RANGE)
    stop_loss = body.number("stop_loss", *STOP_LOSS_RANGE)
    trailing = _trailing(body)
    levels = _levels(body)
    holding = body.whole("max_holding_seconds", 1, HOLDING_SECONDS_MAX)
    window = body.one_of("time_window", tuple(TIME_WINDOWS))
    if body.has("max_holding_seconds") and body.has("time_window"):
        body.refuse("time_window", "cannot be given together with max_holding_seconds; leave one of them out")
    body.finish()
    return ExecuteRequest(
        signal_id=signal_id or "",
        position_size=Usd(position_size),
        pair=pair,
        leverage=leverage or 1,
        execution=Execution.TWAP if twap is not None else Execution(execution) if execution else None,
        twap=twap,
        take_profit=take_profit,
        stop_loss=stop_loss,
        trailing=trailing,
        max_holding_seconds=holding,
        time_window=window,
        take_profit_usd=levels.take_profit_usd,
        stop_loss_usd=levels.stop_loss_usd,
        take_profit_spread=levels.take_profit_spread,
        stop_loss_spread=levels.stop_loss_spread,
        take_profit_z=levels.take_profit_z,
        stop_loss_z=levels.stop_loss_z,
    )


def exit_change(content: Mapping[str, Content]) -> ExitChange:
    """The body of PATCH /api/positions/{id}; null removes a barrier that may be removed. Raises InvalidRequest."""
    removed = {name for name, value in content.items() if value is None}
    body = Fields({name: value for name, value in content.items() if name not in removed})
    if not content:
        body.refuse("body", "must name at least one of take_profit, stop_loss, trailing_stop, max_holding_seconds")
    for name in removed - REMOVABLE:
        body.refuse(shown(name), "cannot be removed; take_profit and stop_loss can be changed")
    levels = _levels(body)
    change = replace(
        levels,
        take_profit=body.number("take_profit", *TAKE_PROFIT_RANGE),
        stop_loss=body.number("stop_loss", *STOP_LOSS_RANGE),
        trailing=_trailing(body),
        max_holding_seconds=body.whole("max_holding_seconds", 1, HOLDING_SECONDS_MAX),
        dropped=frozenset(removed & REMOVABLE),
    )
    body.finish()
    return change


def nothing_asked(content: Mapping[str, Content]) -> None:
    """A body without fields. Raises InvalidRequest naming each that is there."""
    if content:
        raise InvalidRequest(_first_of({shown(name): _UNKNOWN for name in content}))


def close_request(content: Mapping[str, Content], why: str) -> CloseRequest:
    """The body of POST /api/positions/{id}/close. Raises InvalidRequest saying *why* of each field that is unknown."""
    body = Fields(content)
    execution = body.one_of("execution", tuple(Execution))
    twap = _twap(body, execution)
    for name in content:
        if name not in ("execution", "twap"):
            body.refuse(shown(name), why)
    body.finish()
    return CloseRequest(TwapRequest() if twap is None and execution == Execution.TWAP else twap)


def stop_scope(content: Mapping[str, Content]) -> bool:
    """The body of POST /api/emergency_stop: True for the whole account, not only the book. Raises InvalidRequest."""
    body = Fields(content)
    scope = body.one_of("scope", ("book", "account"))
    body.finish()
    return scope == "account"


def scenario_request(content: Mapping[str, Content]) -> ScenarioRequest:
    """The body of POST /api/demo/scenario. Raises InvalidRequest with every wrong field."""
    body = Fields(content)
    kind = body.text("kind", KEY_CHARS_MAX, required=True)
    if kind is not None and kind not in tuple(ScenarioKind):
        body.refuse("kind", f"must be one of {', '.join(ScenarioKind)}")
    coin = body.text("coin", COIN_CHARS_MAX)
    share = body.number("share", *SHARE_RANGE)
    seconds = body.whole("seconds", 1, SCENARIO_SECONDS_MAX)
    body.finish()
    return ScenarioRequest(
        ScenarioKind(kind or ""),
        Coin(coin) if coin else None,
        SHARE_DEFAULT if share is None else share,
        seconds or SCENARIO_SECONDS_DEFAULT,
    )


def accepted_drift(content: Mapping[str, Content]) -> tuple[Coin, ...]:
    """The body of POST /api/resume: the coins whose foreign holdings are accepted. Raises InvalidRequest."""
    body = Fields(content)
    coins = body.coins("accept_drift")
    body.finish()
    return coins


def log_in_request(content: Mapping[str, Content]) -> str:
    """The body of POST /api/session: the token. Raises InvalidRequest."""
    body = Fields(content)
    token = body.text("token", TOKEN_CHARS_MAX, required=True)
    body.finish()
    return token or ""


def idempotency_key(header: str | None) -> str | None:
    """The Idempotency-Key header. Raises InvalidRequest."""
    if header is not None and not re.fullmatch(rf"[!-~]{{1,{KEY_CHARS_MAX}}}", header):
        raise InvalidRequest({"Idempotency-Key": f"must be 1 to {KEY_CHARS_MAX} visible ASCII characters"})
    return header


class Query:
    """The query parameters of one request, which every view must read to the end with `finish`."""

    def __init__(self, parameters: QueryDict) -> None:
        self._given = parameters
        self._wrong: dict[str, str] = {}
        self._known: set[str] = set()

    def limit(self, default: int) -> int:
        """How many entries, from 1 to PAGE_MAX."""
        text = self._take("limit")
        if text is None:
            return default
        if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= PAGE_MAX:
            self._wrong["limit"] = f"must be a whole number from 1 to {PAGE_MAX}"
            return default
        return int(text)

    def days(self) -> int:
        """How many UTC days back, today counted."""
        text = self._take("days")
        if text is None:
            return DAYS_DEFAULT
        if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= DAYS_MAX:
            self._wrong["days"] = f"must be a whole number from 1 to {DAYS_MAX}"
            return DAYS_DEFAULT
        return int(text)

    def before(self) -> str | None:
        """The id that the page wanted comes after, newest first."""
        text = self._take("before")
        if text is not None and not (0 < len(text) <= ID_CHARS_MAX and text.isprintable()):
            self._wrong["before"] = f"must be an id of 1 to {ID_CHARS_MAX} characters"
        return text

    def status(self) -> PositionStatus | None:
        text = self._take("status")
        if text is None:
            return None
        if text not in tuple(PositionStatus):
            self._wrong["status"] = f"must be one of {', '.join(PositionStatus)}"
            return None
        return PositionStatus(text)

    def wants_table(self) -> bool:
        """True for `format=csv`."""
        text = self._take("format")
        if text not in (None, *FORMATS):
            self._wrong["format"] = f"must be one of {', '.join(FORMATS)}"
        return text == "csv"

    def schema_format(self) -> str:
        """yaml unless json is asked for."""
        text = self._take("format") or "yaml"
        if text not in SCHEMA_FORMATS:
            self._wrong["format"] = f"must be one of {', '.join(SCHEMA_FORMATS)}"
        return text

    def finish(self) -> None:
        """Raises InvalidRequest with everything that is wrong, unknown parameters included."""
        for name in self._given:
            if name not in self._known:
                self._wrong[shown(name)] = "is not a known query parameter; leave it out"
        if self._wrong:
            raise InvalidRequest(_first_of(self._wrong))

    def _take(self, name: str) -> str | None:
        self._known.add(name)
        values = self._given.getlist(name)
        if len(values) > 1:
            self._wrong[name] = "is given more than once"
        return str(values[-1]) if values else None


class Fields:
    """One JSON object read field by field. What is wrong is collected; `finish` raises it all, unknown fields too."""

    def __init__(self, content: Mapping[str, Content], within: str = "", wrong: dict[str, str] | None = None) -> None:
        self._content = content
        self._within = within
        self._wrong: dict[str, str] = {} if wrong is None else wrong
        self._known: set[str] = set()

    def refuse(self, name: str, why: str) -> None:
        """Note the first thing that is wrong with *name*."""
        self._known.add(name)
        self._wrong.setdefault(self._within + name, why)

    def has(self, name: str) -> bool:
        return name in self._content

    def finish(self) -> None:
        """Raises InvalidRequest unless every field was known and right."""
        self.close()
        if self._wrong:
            raise InvalidRequest(_first_of(self._wrong))

    def close(self) -> None:
        """Note the fields nobody has read."""
        for name in self._content:
            if name not in self._known:
                self._wrong.setdefault(self._within + shown(name), _UNKNOWN)

    def text(self, name: str, chars_max: int, *, required: bool = False) -> str | None:
        if not self._present(name, required=required):
            return None
        value = self._content[name]
        if isinstance(value, str) and 0 < len(value) <= chars_max and value.isprintable() and value == value.strip():
            return value
        self.refuse(name, f"must be text of 1 to {chars_max} printable characters without spaces around it")
        return None

    def amount(self, name: str, high: Decimal) -> Decimal:
        """A required amount above zero; as the one courtesy to form fields also a string that is a JSON number."""
        value = self._content[name] if self._present(name, required=True) else None
        number = number_of(value) if isinstance(value, str) else value
        if isinstance(number, Decimal) and number.is_finite() and 0 < number <= high:
            return number
        self.refuse(name, f"must be a finite number above 0 and at most {high:f}, in USD")
        return high

    def number(self, name: str, low: Decimal, high: Decimal) -> Decimal | None:
        value = self._given(name)
        if isinstance(value, Decimal) and value.is_finite() and low <= value <= high:
            return value
        self._out(name, f"must be a number from {low:f} to {high:f}, as a fraction; leave it out for the default")
        return None

    def level(self, name: str, low: Decimal, high: Decimal) -> Decimal | None:
        """A barrier that is off when it is not there."""
        value = self._given(name)
        if isinstance(value, Decimal) and value.is_finite() and low <= value <= high:
            return value
        self._out(name, f"must be a number from {low:f} to {high:f}; without it there is no such barrier")
        return None

    def whole(self, name: str, low: int, high: int) -> int | None:
        value = self._given(name)
        if (
            isinstance(value, Decimal)
            and value.is_finite()
            and low <= value <= high
            and value == value.to_integral_value()
        ):
            return int(value)
        self._out(name, f"must be a whole number from {low} to {high}; leave it out for the default")
        return None

    def one_of(self, name: str, words: tuple[str, ...]) -> str | None:
        value = self._given(name)
        if isinstance(value, str) and value in words:
            return value
        self._out(name, f"must be one of {', '.join(words)}; leave it out for the default")
        return None

    def pair(self, name: str) -> Pair | None:
        value = self._given(name)
        if isinstance(value, str) and value.count("/") == 1 and all(_COIN.fullmatch(coin) for coin in value.split("/")):
            try:
                return Pair.parse(value)
            except InvalidRequest as error:
                self.refuse(name, error.fields["pair"])
                return None
        self._out(name, "must be two coins as A/B, such as BTC/ETH")
        return None

    def coins(self, name: str) -> tuple[Coin, ...]:
        value = self._given(name)
        if isinstance(value, list) and len(value) <= COINS_ACCEPTED_MAX:
            coins = tuple(Coin(one) for one in value if isinstance(one, str) and _COIN.fullmatch(one))
            if len(coins) == len(value):
                return coins
        self._out(name, f"must be a list of at most {COINS_ACCEPTED_MAX} coins, such as [BTC, ETH]")
        return ()

    def group(self, name: str) -> "Fields | None":
        """The object under *name*, whose wrong fields are noted as `name.field`."""
        value = self._given(name)
        if isinstance(value, dict):
            return Fields(value, f"{self._within}{name}.", self._wrong)
        self._out(name, "must be a JSON object")
        return None

    def _given(self, name: str) -> Content:
        self._known.add(name)
        return self._content.get(name)

    def _present(self, name: str, *, required: bool) -> bool:
        self._known.add(name)
        if required and name not in self._content:
            self.refuse(name, "is required")
        return name in self._content

    def _out(self, name: str, why: str) -> None:
        """Refuse an optional field that is there: null is no way to leave one out, it may mean too many things."""
        if self.has(name):
            self.refuse(name, why)


def _twap(body: Fields, execution: str | None) -> TwapRequest | None:
    group = body.group("twap")
    if group is None:
        return None
    if execution == Execution.MARKET:
        body.refuse("twap", "belongs to execution twap; leave it out or ask for that")
    twap = TwapRequest(
        group.whole("duration_seconds", 1, TWAP_SECONDS_MAX),
        group.whole("slices", 1, TWAP_SLICES_MAX),
    )
    group.close()
    return twap


def _levels(body: Fields) -> ExitChange:
    """The barriers beside the plain ones, which are off unless they are named."""
    profit, loss = (body.level(name, Decimal(0), POSITION_SIZE_MAX) for name in ("take_profit_usd", "stop_loss_usd"))
    return ExitChange(
        take_profit_usd=None if profit is None else Usd(profit),
        stop_loss_usd=None if loss is None else Usd(loss),
        take_profit_spread=body.level("take_profit_spread", *SPREAD_RANGE),
        stop_loss_spread=body.level("stop_loss_spread", *SPREAD_RANGE),
        take_profit_z=body.level("take_profit_z", *TAKE_PROFIT_Z_RANGE),
        stop_loss_z=body.level("stop_loss_z", *STOP_LOSS_Z_RANGE),
    )


def _trailing(body: Fields) -> TrailingStop | None:
    group = body.group("trailing_stop")
    if group is None:
        return None
    arm = group.number("arm", *TRAILING_ARM_RANGE)
    gap = group.number("gap", *TRAILING_GAP_RANGE)
    for name, value in (("arm", arm), ("gap", gap)):
        if value is None:
            group.refuse(name, "is required")
    group.close()
    if arm is None or gap is None:
        return None
    if gap >= arm:
        group.refuse("gap", "must be smaller than arm")
    return TrailingStop(Ratio(arm), Ratio(gap))


def _first_of(wrong: dict[str, str]) -> dict[str, str]:
    """As much of *wrong* as an answer may hold: a small body with thousands of names must not make a large one."""
    if len(wrong) <= FIELDS_TOLD_MAX:
        return wrong
    rest = len(wrong) - FIELDS_TOLD_MAX
    return {**dict(list(wrong.items())[:FIELDS_TOLD_MAX]), "body": f"has {rest} more fields that are wrong"}
