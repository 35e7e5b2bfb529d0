"""Every knob of the service as one frozen, typed record, and the only reading of the environment.

The law: the environment wins over `.env`, nothing else is consulted, all mistakes are told at once, and no line that is
printed about a mistake holds the value of a secret.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from decimal import Decimal
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, parse_qsl, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dotenv.parser import Original, parse_stream
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from trading.domain.errors import DeskError
from trading.domain.exit_plan import TrailingStop
from trading.domain.market import CandleInterval
from trading.domain.units import Ratio

PROJECT_ROOT = Path(__file__).resolve().parent.parent
HYPERLIQUID_MAINNET = "https://api.hyperliquid.xyz"
HYPERLIQUID_TESTNET = "https://api.hyperliquid-testnet.xyz"
# An opening must fit into the three quarters of it that are not kept for closes.
WEIGHT_MIN = 160
# What Django itself calls too weak (security.W009).
SECRET_KEY_CHARS_MIN = 50
SECRET_KEY_DISTINCT_MIN = 5
INSECURE_PREFIX = "django-insecure-"
# In demo mode, because a live desk that lacks its tokens would refuse to start this command, too.
TOKEN_REMEDY = "make one with `DEMO_MODE=true python manage.py create_api_token NAME --scope read|trade|admin`"  # noqa: S105
SECRET_KEY_REMEDY = "make one with `python -c 'import secrets; print(secrets.token_urlsafe(50))'`"  # noqa: S105

SECRETS = frozenset(
    {
        "SECRET_KEY",
        "API_TOKENS",
        "REDIS_URL",
        "HYPERLIQUID_WALLET_KEY",
        "HYPERLIQUID_KEYSTORE_PASSWORD",
        "PEAR_API_KEY",
        "ALERT_URLS",
    }
)

_PLACEHOLDER = re.compile(
    r"<.*>|your[_-].*|change[_-]?me.*|replace[_-]?me.*|placeholder|x{3,}|\.{3}", re.IGNORECASE | re.DOTALL
)
_TOKEN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]{0,63}):(?P<scope>read|trade|admin):(?P<digest>[0-9a-f]{64})")
_WALLET_KEY = re.compile(r"(0x)?[0-9a-fA-F]{64}")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_HOST = re.compile(r"\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*|\[[0-9A-Fa-f:.]+\]")
_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_DATABASE = re.compile(r"/?|/\d{1,4}", re.ASCII)
_REDIS_OPTIONS = {"db": r"[0-9]{1,4}", "username": r".*", "password": r".*"}
_TLS_OPTIONS = {
    **dict.fromkeys(("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_password"), r".+"),
    "ssl_cert_reqs": r"none|optional|required",
    "ssl_check_hostname": r"(?i:true|false|yes|no|on|off|1|0)",
}
_LOOK_ALIKE = 0.8
# What other programs call their own settings, or nearly so: REDIS_HOSTS, DATA_DIRS.
_COMMON = ("SECRET_", "LOG_", "ALLOWED_", "CORS_", "API_", "REDIS_", "DATA_", "ALERT_")
# What pydantic tells programmers, for operators.
_PLAIN_WORDS = {
    "bool_parsing": "must be true or false",
    "int_parsing": "must be a whole number",
    "float_parsing": "must be a number",
    "decimal_parsing": "must be a number",
}


class ConfigurationError(DeskError):
    """The service must not start; `mistakes` has one line each, naming the variable and the remedy."""

    code = "CONFIGURATION_INVALID"

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class Scope(StrEnum):
    """What a caller may do; each scope holds the ones before it."""

    READ = "read"
    TRADE = "trade"
    ADMIN = "admin"

    def covers(self, wanted: "Scope") -> bool:
        """Whether a caller with this scope may do what asks for *wanted*."""
        ranks = list(Scope)
        return ranks.index(self) >= ranks.index(wanted)


@dataclass(frozen=True, slots=True)
class ApiToken:
    """One caller: `digest` is the SHA-256 of the token, in hex; the token itself is nowhere."""

    name: str
    scope: Scope
    digest: str = field(repr=False)


def _split_list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _listed(value: object) -> object:
    """A comma list as a tuple; what is no text is left to the type check."""
    return _split_list(value) if isinstance(value, str) else value


def _tokens(value: object) -> object:
    if not isinstance(value, str):
        return value
    tokens = []
    for number, text in enumerate(_split_list(value), start=1):
        match = _TOKEN.fullmatch(text)
        if match is None:
            raise ValueError(f"entry {number} is not name:read|trade|admin:sha256-hex; {TOKEN_REMEDY}")
        tokens.append(ApiToken(match["name"], Scope(match["scope"]), match["digest"]))
    names = [token.name for token in tokens]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the names {', '.join(twice)} appear twice; give every token its own name")
    return tuple(tokens)


def is_loopback(url: str) -> bool:
    """Whether *url* points at this very machine."""
    return _is_loopback_host(urlsplit(url).hostname or "")


def _is_loopback_host(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _peer_url(value: str) -> str:
    """An http(s) address without user, query or trailing slash; off this machine only https."""
    parts = _split(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address such as https://example.org")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must have no user, password, query or fragment")
    if parts.scheme == "http" and not _is_loopback_host(parts.hostname):
        raise ValueError("must begin with https:// (plain http is accepted for this machine only)")
    return value.rstrip("/")


def _split(value: str) -> SplitResult:
    parts = urlsplit(value)
    try:
        _ = parts.port
    except ValueError as error:
        raise ValueError("has a port that is no number from 0 to 65535") from error
    return parts


def _redis_url(value: str) -> str:
    parts = _split(value)
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("must begin with redis://, rediss:// or unix://")
    if parts.scheme != "unix" and not _DATABASE.fullmatch(parts.path):
        raise ValueError("must name its database by number, as redis://localhost:6379/3 does")
    known = _REDIS_OPTIONS | _TLS_OPTIONS if parts.scheme == "rediss" else _REDIS_OPTIONS
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known or not re.fullmatch(known[name], text):
            # One that the client does not have is an error of every call, and of none before. Not named here: where a
            # password holds a ?, it is what follows that.
            raise ValueError("has an option after the ? that is not known or cannot have that value; leave it out")
    return value


def _redis_host(value: str) -> str:
    if not _is_ipv6(value.removeprefix("[").removesuffix("]")) and not _HOST_NAME.fullmatch(value):
        raise ValueError("must be a host name or an address alone; its port goes into REDIS_PORT")
    return value


def _is_ipv6(value: str) -> bool:
    try:
        return ip_address(value).version == 6
    except ValueError:
        return False


def _origins(values: tuple[str, ...]) -> tuple[str, ...]:
    for number, value in enumerate(values, start=1):
        parts = _split(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query:
            raise ValueError(f"entry {number} is not scheme://host[:port], such as http://localhost:3000")
    return values


def _hosts(values: tuple[str, ...]) -> tuple[str, ...]:
    for number, value in enumerate(values, start=1):
        if not _HOST.fullmatch(value):
            raise ValueError(f"entry {number} is not a host name; name each host, without scheme, port or wildcard")
    return values


def _zone(value: str) -> str:
    _zone_of(value)
    return value


def _zone_of(value: str) -> tzinfo:
    # A slim system may have no time zone files; UTC must work there all the same.
    if value.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("must be a time zone such as UTC or Europe/Berlin") from error


def _weight(value: int) -> int:
    if 0 < value < WEIGHT_MIN:
        raise ValueError(f"must be 0, which is off, or {WEIGHT_MIN} and more: with less nothing is ever opened")
    return value


def _wallet_key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.startswith("{") and not _WALLET_KEY.fullmatch(text):
        raise ValueError("must be 64 hex digits (0x first or not) or a keystore JSON")
    return value


def _address(value: str) -> str:
    if not _ADDRESS.fullmatch(value):
        raise ValueError("must be 0x and 40 hex digits")
    return value.lower()


def _data_dir(value: Path) -> Path:
    """Relative paths start at the project, so that every command finds the same files wherever it is called."""
    return PROJECT_ROOT / value.expanduser()


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Fraction = Annotated[Decimal, Field(gt=0, le=1)]
Money = Annotated[Decimal, Field(gt=0, le=Decimal("1e12"))]
Seconds = Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)]
PeerUrl = Annotated[str, AfterValidator(_peer_url)]


def _default_cors(known: dict[str, object]) -> tuple[str, ...]:
    # The sibling frontend's development server; a live desk names its origins itself.
    return ("http://localhost:3000",) if _demo(known) else ()


def _demo(known: dict[str, object]) -> bool:
    return bool(known.get("demo_mode", True))


def _live(known: dict[str, object]) -> bool:
    return not _demo(known)


def _default_redis_url(known: dict[str, object]) -> str:
    host = str(known["redis_host"])
    return f"redis://{f'[{host}]' if _is_ipv6(host) else host}:{known['redis_port']}/{known['redis_db']}"


def _default_scout_url(known: dict[str, object]) -> str | None:
    return None if _demo(known) else "http://localhost:8001"


def _default_guardian_url(known: dict[str, object]) -> str | None:
    return None if _demo(known) else "http://localhost:8003"


def _default_hyperliquid_url(known: dict[str, object]) -> str:
    return HYPERLIQUID_TESTNET if known.get("venue") == "hyperliquid" else HYPERLIQUID_MAINNET


class Config(BaseSettings):
    """The configuration: each attribute is a variable's name in lower case; its docstring explains it in `.env.example`
    and in the README, together with those right below it that have none (`make config` writes both).

    Ratios are fractions, money is USD. `load_config` is how the service gets one; `Config.of` is how a test does.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, str_strip_whitespace=True)

    executor_port: int = Field(8004, ge=1, le=65535)
    """Port of the web process, on 127.0.0.1."""
    demo_mode: bool = True
    """true: paper venue, demo Scout and Guardian unless their URLs are set; no key needed, no real order possible."""
    venue: Literal["pear", "hyperliquid"] = "pear"
    """Where a live desk (DEMO_MODE=false) trades: pear or hyperliquid."""
    secret_key: SecretStr | None = None
    """Django's key, 50 characters or more; random in demo mode, required otherwise."""
    debug: bool = False
    """Django's debug pages; refused with DEMO_MODE=false."""
    log_format: Literal["console", "json"] = "console"
    """How the processes' own output looks: console has lines for people, in colour on a terminal; json has one object a
    line for machines."""
    allowed_hosts: Annotated[Names, AfterValidator(_hosts)] = ("localhost", "127.0.0.1", "[::1]")
    """Comma list of the host names that requests may ask for; no wildcards."""
    cors_allowed_origins: Annotated[Names, AfterValidator(_origins)] = Field(default_factory=_default_cors)
    """Comma list of web origins that may call from a browser. Blank: http://localhost:3000 in demo mode, else
    none."""

    api_tokens: Annotated[tuple[ApiToken, ...], BeforeValidator(_tokens)] = ()
    """Comma list of name:scope:sha256-hex with scope read, trade or admin; required with DEMO_MODE=false. `python
    manage.py create_api_token NAME --scope trade` prints a token and its entry."""
    allow_anonymous_loopback: bool = Field(default_factory=_demo)
    """Callers on this machine need no token to read and trade. Blank: true in demo mode, else false."""
    throttle_read_per_minute: int = Field(600, ge=0, le=1_000_000)
    """Requests a minute for each token or address; 0 is off. Closing and the emergency stop are never throttled."""
    throttle_trade_per_minute: int = Field(120, ge=0, le=1_000_000)

    redis_host: Annotated[str, AfterValidator(_redis_host)] = "localhost"
    """Redis 6 or later. It is a cache only and may be absent: `make run` starts a private one when none answers."""
    redis_port: int = Field(6379, ge=1, le=65535)
    redis_db: int = Field(3, ge=0, le=1024)
    redis_url: Annotated[str, AfterValidator(_redis_url)] = Field(default_factory=_default_redis_url, repr=False)
    """Its address in one, with its password where it has one; wins over the three above."""
    data_dir: Annotated[Path, AfterValidator(_data_dir)] = PROJECT_ROOT / "data"
    """Folder of positions.json, trades.json and agent_logs.json; relative paths start at the project."""

    scout_url: PeerUrl | None = Field(default_factory=_default_scout_url)
    """Blank in demo mode: the built-in stand-ins. Blank otherwise: http://localhost:8001 and
    http://localhost:8003."""
    guardian_url: PeerUrl | None = Field(default_factory=_default_guardian_url)
    agent_timeout_seconds: Seconds = 5.0
    """How long to wait for an answer. Guardian may ask a language model; it is asked once. An execute waits nine
    seconds for everything, whatever is set here."""
    guardian_timeout_seconds: Seconds = 8.0
    scout_timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    """Zone of Scout's timestamps that carry no offset."""
    min_signal_confidence: Decimal = Field(Decimal("0.7"), ge=0, le=1)
    """Signals below this confidence (0 to 1) or older than this are refused."""
    max_signal_age_seconds: int = Field(300, ge=1, le=86_400)

    max_positions: int = Field(3, ge=1, le=1000)
    """Open positions at most, and the gross notional of each at most, as a fraction of equity in (0, 1]."""
    max_allocation: Fraction = Decimal("0.30")
    max_leverage: int = Field(3, ge=1, le=50)
    """Highest leverage; it changes the margin, not the size."""
    min_portfolio_usd: Decimal = Field(Decimal(100), ge=0, le=Decimal("1e12"))
    """No opening below this account value, in USD."""
    margin_reserve: Decimal = Field(Decimal("0.05"), ge=0, lt=1)
    """Fraction of the margin that stays free."""
    cooldown_seconds: int = Field(900, ge=0, le=2_592_000)
    """Pause of a pair after a losing exit; 0 is off."""
    max_daily_loss: Fraction = Decimal("0.05")
    """Loss since UTC midnight, as a fraction of the portfolio, beyond which nothing is opened until the next day or a
    resume."""

    max_slippage: Decimal = Field(Decimal("0.003"), gt=0, le=Decimal("0.1"))
    """Band of an entry order around the touch, as a fraction; no slice goes out further than this from its arrival
    price."""
    max_leg_spread: Decimal = Field(Decimal("0.005"), gt=0, le=Decimal("0.1"))
    """Entries are refused when a leg's bid and ask are further apart than this fraction."""
    cost_share_of_stop: Fraction = Decimal("0.30")
    """Entries are refused when the round trip, fees included, costs more than this fraction of the stop loss."""
    twap_threshold_usd: Money = Decimal(5000)
    """Larger trades are sliced unless the request says otherwise: so many slices over so many seconds."""
    twap_duration_seconds: int = Field(180, ge=1, le=86_400)
    twap_slices: int = Field(5, ge=1, le=1000)
    twap_jitter: Decimal = Field(Decimal(0), ge=0, le=Decimal("0.4"))
    """Moves each slice but the first by up to this fraction of the interval either way, by a hash of trade and slice; 0
    is off."""

    take_profit: Decimal = Field(Decimal("0.02"), ge=Decimal("0.001"), le=5)
    """Net return on the pair's gross notional, as fractions: take profit 0.001 to 5, stop loss 0.002 to 0.5."""
    stop_loss: Decimal = Field(Decimal("0.01"), ge=Decimal("0.002"), le=Decimal("0.5"))
    trailing_arm: Annotated[Decimal, Field(gt=0, le=5)] | None = None
    """Trailing stop: armed at this return, leaves when it falls by the gap (below the arm). Both or neither; blank is
    off."""
    trailing_gap: Annotated[Decimal, Field(gt=0, le=5)] | None = None
    max_holding_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """Positions are closed after this time; blank is off."""
    z_candle_interval: CandleInterval = CandleInterval.MINUTE
    """Bars that the mean and the deviation of an exit by z-score are taken from: how long each lasts (1m, 5m, 15m, 1h,
    4h or 1d), and how many before the entry, 200 or more."""
    z_candles: int = Field(300, ge=200, le=4_000)
    monitor_interval_seconds: Annotated[float, Field(ge=0.1, le=60, allow_inf_nan=False)] = 1.0
    """Pace of the monitor, three for whatever is more: silent for five seconds it counts as dead. And whether nothing
    is opened without it. Blank: false in demo mode, else true."""
    require_monitor: bool = Field(default_factory=_live)
    resting_protection: bool = True
    """Whether a stop and a mirrored take-profit rest at the venue for each leg of a position, where the venue can."""

    paper_equity_usd: Money = Decimal(100_000)
    """What the paper account starts with, and the number that its market is derived from."""
    paper_seed: int = Field(7, ge=0, le=2**63 - 1)

    hyperliquid_api_url: PeerUrl = Field(default_factory=_default_hyperliquid_url)
    """Blank: https://api.hyperliquid-testnet.xyz with VENUE=hyperliquid, https://api.hyperliquid.xyz with
    VENUE=pear."""
    venue_weight_per_minute: Annotated[int, Field(ge=0, le=1_000_000), AfterValidator(_weight)] = 1200
    """The exchange's request budget a minute; 0 is off."""
    venue_shared_dir: Annotated[Path, AfterValidator(_data_dir)] | None = None
    """Folder of the nonces and the request budget. Give all desks of one machine the same; blank: the folder venue in
    DATA_DIR."""
    hyperliquid_wallet_key: Annotated[SecretStr, AfterValidator(_wallet_key)] | None = None
    """The API wallet's private key, or its keystore JSON together with the password below. With VENUE=pear it is
    optional and recommended: closes that Pear does not confirm then go to the exchange directly."""
    hyperliquid_keystore_password: SecretStr | None = None
    hyperliquid_account_address: Annotated[str, AfterValidator(_address)] | None = None
    """The master account's address (not the API wallet's): its state is what is read."""
    pear_api_url: PeerUrl = "https://hl-v2.pearprotocol.io"
    """Pear's address, the key it issues for the account (secret), and the name of this client there."""
    pear_api_key: SecretStr | None = None
    pear_client_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "APITRADER"
    alert_urls: Names = Field((), repr=False)
    """Comma list of addresses that alerts go to, as apprise writes them (tgram://TOKEN/CHAT, discord://ID/TOKEN,
    slack://..., jsons://host/path); `python manage.py send_test_alert` tries them. Blank: none."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given and nothing else: `load_config` asks its sources itself, so that nobody reads by the way."""
        return (init_settings,)

    @classmethod
    def of(cls, **overrides: object) -> Self:
        """The defaults with *overrides*, each checked for itself; reads no environment and allows contradictions."""
        return cls.model_validate(overrides)

    @property
    def trailing(self) -> TrailingStop | None:
        """The default trailing stop, when both of its halves are set."""
        if self.trailing_arm is None or self.trailing_gap is None:
            return None
        return TrailingStop(Ratio(self.trailing_arm), Ratio(self.trailing_gap))

    @property
    def scout_tzinfo(self) -> tzinfo:
        """The zone of Scout's timestamps that carry no offset."""
        return _zone_of(self.scout_timezone)


VARIABLES = tuple(name.upper() for name in Config.model_fields)

SECTIONS: Mapping[str, str] = {
    "EXECUTOR_PORT": "Service",
    "API_TOKENS": "Callers",
    "REDIS_HOST": "Redis and files",
    "SCOUT_URL": "Scout and Guardian",
    "MAX_POSITIONS": "Limits",
    "MAX_SLIPPAGE": "Execution",
    "TAKE_PROFIT": "Exits",
    "PAPER_EQUITY_USD": "Paper venue",
    "HYPERLIQUID_API_URL": "Live venues",
    "ALERT_URLS": "Alerts",
}
"""The chapters of `.env.example`, each by the variable that it begins with."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A mistake that takes more than one variable: the names it rests on, and the line to print."""

    variables: frozenset[str]
    line: str


class VariableSource(PydanticBaseSettingsSource):
    """What one set of variables says: blanks and placeholders are unset, `X_FILE` stands for what that file holds.

    `mistakes` has a line for each file that cannot be read and each secret that is set both ways.
    """

    def __init__(self, variables: Mapping[str, str | None]) -> None:
        super().__init__(Config)
        self.mistakes: list[str] = []
        self._variables = variables

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[str, str, bool]:
        """The text of a variable, blank when it is unset."""
        name = field_name.upper()
        text = meant(self._variables.get(name))
        path = meant(self._variables.get(f"{name}_FILE")) if name in SECRETS else ""
        if text and path:
            self.mistakes.append(f"{name}: is set together with {name}_FILE; remove one of them")
        return text or (self._text_in(path, name) if path else ""), field_name, False

    def __call__(self) -> dict[str, str]:
        """What is set, by attribute."""
        found = (self.get_field_value(field, name) for name, field in Config.model_fields.items())
        return {name: text for text, name, _ in found if text}

    def _text_in(self, path: str, name: str) -> str:
        try:
            return meant(Path(path).expanduser().read_text(encoding="utf-8"))
        except (OSError, ValueError):
            line = f"{name}_FILE: the file it names cannot be read as text; check the path and its permissions"
            self.mistakes.append(line)
            return ""


class DotenvSource(VariableSource):
    """What the file at *path* says, which may be missing; a line that cannot be read, or that contradicts another one,
    is a mistake, and so is a name that looks like a misspelt variable."""

    def __init__(self, path: Path) -> None:
        super().__init__({})
        try:
            bindings = _bindings_of(path)
        except (OSError, ValueError):
            self.mistakes.append(f"{path.name}: cannot be read as UTF-8 text; check its permissions and encoding")
            return
        known = _known_in_file()
        values: dict[str, str | None] = {}
        for number, name, value in bindings:
            if name is None:
                # What is on it is not shown: it may be a secret.
                self.mistakes.append(f"{path.name}: line {number} is no NAME=value; mend it or remove it")
            elif name in known and meant(values.get(name)) not in ("", meant(value)):
                self.mistakes.append(f"{name}: is set twice in {path.name}, to different values; remove one of them")
            elif name not in known and (alike := difflib.get_close_matches(name.upper(), known, 1, _LOOK_ALIKE)):
                self.mistakes.append(f"{name}: no such variable in {path.name}; did you mean {alike[0]}?")
            else:
                values[name] = value
        self._variables = values


def likely_meant(path: Path) -> tuple[tuple[str, str], ...]:
    """Names in the file at *path* that are no variable, and what each may stand for: variables that have its words and
    more, or some of them, as COOLDOWN_SECONDS for COOLDOWN. They may be another program's all the same."""
    known, found = _known_in_file(), []
    for _, name, _ in _bindings_of(path):
        if name is None or name in known:
            continue
        words = set(name.upper().split("_"))
        kin = [one for one in VARIABLES if words <= set(one.split("_")) or set(one.split("_")) <= words]
        if kin:
            found.append((name, " or ".join(difflib.get_close_matches(name.upper(), kin, 3, 0))))
    return tuple(found)


def misspelt(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Names in the environment that are one letter away from a variable that only this service has, and that one.

    The environment is everybody's: what is further away, or near to a name that others use, is left alone.
    """
    own = [one for one in VARIABLES if "_" in one and not one.startswith(_COMMON)]
    unknown = sorted(set(environ) - _known_in_file())
    return tuple((name, one) for name in unknown for one in own if _one_letter_apart(name.upper(), one))


def _one_letter_apart(name: str, known: str) -> bool:
    """Whether they are the same once a letter is left out of either or both, or where only the case differed. A digit
    is no slip: EXECUTOR_PORT2 is somebody's second one."""
    return not re.search(r"\d", name) and not _with_one_less(name).isdisjoint(_with_one_less(known))


def _with_one_less(name: str) -> set[str]:
    return {name, *(name[:at] + name[at + 1 :] for at in range(len(name)))}


def _known_in_file() -> frozenset[str]:
    return frozenset({*VARIABLES, *(f"{name}_FILE" for name in SECRETS)})


def _bindings_of(path: Path) -> tuple[tuple[int, str | None, str | None], ...]:
    """Line, name and value of each setting in the file at *path*; no name for a line that is none."""
    try:
        # Nothing is put in for a `$`: one in a secret stays what it is.
        with path.open(encoding="utf-8") as stream:
            found = tuple(parse_stream(stream))
    except FileNotFoundError:
        return ()
    return tuple((_line_of(one.original), one.key, one.value) for one in found if one.error or one.key is not None)


def _line_of(original: Original) -> int:
    """The blank lines before it are part of a setting."""
    return original.line + original.string[: -len(original.string.lstrip())].count("\n")


def load_config(environ: Mapping[str, str], dotenv_path: Path | None = None) -> Config:
    """The configuration of *environ* over the file at *dotenv_path*, which may be missing.

    Raises ConfigurationError with every mistake at once: values out of bounds, secrets that are missing, combinations
    that cannot be meant, and names in the file that look like a misspelt variable.
    """
    sources = (*((DotenvSource(dotenv_path),) if dotenv_path else ()), VariableSource(environ))
    values = {name: text for source in sources for name, text in source().items()}
    mistakes = [mistake for source in sources for mistake in source.mistakes]
    config, wrong = _parse(values, mistakes)
    mistakes += [one.line for one in contradictions(config) if not one.variables & wrong]
    if mistakes:
        raise ConfigurationError(tuple(mistakes))
    return config


def contradictions(config: Config) -> tuple[Contradiction, ...]:
    """Every combination in *config* that cannot be meant, each with its remedy."""
    return (*_of_exits(config), *_of_slices(config), *(() if config.demo_mode else _of_live(config)))


def refuse_strangers(host: str, config: Config) -> None:
    """Raises ConfigurationError when the web process is to listen at a *host* that others reach, and there are no
    tokens: whoever came could do everything."""
    if not config.api_tokens and not _is_loopback_host(host):
        word = f"without any the demo serves this machine only, and {host} is open to others"
        raise ConfigurationError((f"API_TOKENS: {word}; listen at 127.0.0.1, or {TOKEN_REMEDY}",))


def meant(text: str | None) -> str:
    """*text* without what is around it; blank for a placeholder, which is as good as unset."""
    stripped = (text or "").strip()
    return "" if _PLACEHOLDER.fullmatch(stripped) else stripped


def _parse(values: Mapping[str, str], mistakes: list[str]) -> tuple[Config, frozenset[str]]:
    """The configuration of *values* and the variables that were wrong; those have their defaults in it."""
    try:
        return Config.of(**values), frozenset()
    except ValidationError as error:
        wrong = {str(one["loc"][0]): one for one in error.errors(include_input=False, include_url=False)}
    mistakes += [_line(name.upper(), one) for name, one in wrong.items() if name in values]
    right = Config.of(**{name: text for name, text in values.items() if name not in wrong})
    return right, frozenset(name.upper() for name in wrong)


def _line(name: str, error: ErrorDetails) -> str:
    said = error["msg"].removeprefix("Value error, ").replace("Input should", "must").replace("String should", "must")
    default = Config.model_fields[name.lower()].default
    word = str(default).lower() if isinstance(default, bool) else default
    remedy = f"; without it the default is {word}" if isinstance(default, bool | int | float | str | Decimal) else ""
    return f"{name}: {_PLAIN_WORDS.get(error['type'], said)}{remedy}"


def _of_exits(config: Config) -> tuple[Contradiction, ...]:
    both = frozenset({"TRAILING_ARM", "TRAILING_GAP"})
    if (config.trailing_arm is None) != (config.trailing_gap is None):
        there, missing = ("ARM", "GAP") if config.trailing_gap is None else ("GAP", "ARM")
        return (
            Contradiction(both, f"TRAILING_{missing}: is missing while TRAILING_{there} is set; set both or neither"),
        )
    if config.trailing is not None and config.trailing.gap >= config.trailing.arm:
        return (Contradiction(both, "TRAILING_GAP: must be smaller than TRAILING_ARM"),)
    return ()


def _of_slices(config: Config) -> tuple[Contradiction, ...]:
    if config.twap_slices <= config.twap_duration_seconds:
        return ()
    both = frozenset({"TWAP_SLICES", "TWAP_DURATION_SECONDS"})
    return (Contradiction(both, "TWAP_SLICES: at most one slice a second; lower it or raise TWAP_DURATION_SECONDS"),)


def _of_live(config: Config) -> tuple[Contradiction, ...]:
    missing = {"SECRET_KEY": SECRET_KEY_REMEDY, "API_TOKENS": TOKEN_REMEDY, **_venue_secrets(config)}
    found = [
        Contradiction(frozenset({name}), f"{name}: is required with DEMO_MODE=false; {remedy}")
        for name, remedy in missing.items()
        if not getattr(config, name.lower())
    ]
    if config.secret_key and (weakness := _weakness_of(config.secret_key.get_secret_value())):
        found.append(Contradiction(frozenset({"SECRET_KEY"}), f"SECRET_KEY: {weakness}; {SECRET_KEY_REMEDY}"))
    if config.debug:
        found.append(Contradiction(frozenset({"DEBUG"}), "DEBUG: must be false with DEMO_MODE=false"))
    return (*found, *_of_keystore(config), *_of_networks(config))


def _weakness_of(key: str) -> str:
    """Why *key* could be guessed; blank when nothing speaks for it."""
    if len(key) < SECRET_KEY_CHARS_MIN:
        return f"must have at least {SECRET_KEY_CHARS_MIN} characters"
    if key.startswith(INSECURE_PREFIX):
        return "must not be the key that Django makes up for a new project, which is in many repositories"
    if len(set(key)) < SECRET_KEY_DISTINCT_MIN:
        return f"must have at least {SECRET_KEY_DISTINCT_MIN} different characters"
    return ""


def _venue_secrets(config: Config) -> dict[str, str]:
    if config.venue == "pear":
        return {
            "PEAR_API_KEY": "make one with `DEMO_MODE=true python manage.py pear_login NAME`",
            "HYPERLIQUID_ACCOUNT_ADDRESS": "set the address of the account that Pear trades for",
        }
    return {
        "HYPERLIQUID_WALLET_KEY": "set the API wallet's private key, or its keystore",
        "HYPERLIQUID_ACCOUNT_ADDRESS": "set the master account's address, not the API wallet's",
    }


def _of_keystore(config: Config) -> tuple[Contradiction, ...]:
    wallet, password = config.hyperliquid_wallet_key, config.hyperliquid_keystore_password
    if wallet is None or password is not None or not wallet.get_secret_value().startswith("{"):
        return ()
    line = "HYPERLIQUID_KEYSTORE_PASSWORD: is required because HYPERLIQUID_WALLET_KEY is a keystore"
    return (Contradiction(frozenset({"HYPERLIQUID_KEYSTORE_PASSWORD", "HYPERLIQUID_WALLET_KEY"}), line),)


def _of_networks(config: Config) -> tuple[Contradiction, ...]:
    """Pear trades on Hyperliquid's main network; reading another one would show an account that it does not trade."""
    mainnet = config.hyperliquid_api_url == HYPERLIQUID_MAINNET
    simulated = is_loopback(config.hyperliquid_api_url) and is_loopback(config.pear_api_url)
    if config.venue != "pear" or mainnet or simulated:
        return ()
    names = frozenset({"VENUE", "HYPERLIQUID_API_URL", "PEAR_API_URL"})
    line = f"HYPERLIQUID_API_URL: VENUE=pear trades on the main network; set {HYPERLIQUID_MAINNET}"
    return (Contradiction(names, f"{line}, or both addresses to this machine"),)
