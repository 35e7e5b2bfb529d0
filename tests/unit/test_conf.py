"""Tests of the configuration: defaults, sources, bounds, contradictions, and what is said about them."""

import hashlib
import os
import subprocess
import sys
import tempfile
import unittest
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from unittest.mock import patch
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from tests.processes import environ_of
from trading.conf import (
    HYPERLIQUID_MAINNET,
    HYPERLIQUID_TESTNET,
    PROJECT_ROOT,
    SECRET_KEY_REMEDY,
    SECRETS,
    ApiToken,
    Config,
    ConfigurationError,
    Scope,
    contradictions,
    is_loopback,
    load_config,
)
from trading.domain.exit_plan import TrailingStop
from trading.domain.units import Ratio

DIGEST = hashlib.sha256(b"a token").hexdigest()
WALLET_KEY = "0x" + "1f" * 32
LIVE = {
    "DEMO_MODE": "false",
    "SECRET_KEY": "0123456789" * 5,
    "API_TOKENS": f"desk:trade:{DIGEST}",
    "PEAR_API_KEY": "pear-key-of-a-test",
    "HYPERLIQUID_ACCOUNT_ADDRESS": "0x" + "AB" * 20,
}
LIVE_HYPERLIQUID = {
    **LIVE,
    "VENUE": "hyperliquid",
    "HYPERLIQUID_WALLET_KEY": WALLET_KEY,
}


def mistakes_in(environ: dict[str, str], dotenv: Path | None = None) -> list[str]:
    try:
        load_config(environ, dotenv)
    except ConfigurationError as error:
        return list(error.mistakes)
    return []


class Defaults(unittest.TestCase):
    def test_an_empty_environment_is_a_working_demo(self) -> None:
        config = load_config({})
        self.assertTrue(config.demo_mode)
        self.assertEqual(config.executor_port, 8004)
        self.assertEqual(config.max_allocation, Decimal("0.30"))
        self.assertEqual(config.redis_url, "redis://localhost:6379/3")
        self.assertEqual(config.data_dir, PROJECT_ROOT / "data")
        self.assertIsNone(config.trailing)
        self.assertEqual(config, Config.of())

    def test_some_defaults_depend_on_the_mode(self) -> None:
        demo, live = Config.of(), Config.of(demo_mode=False)
        self.assertEqual((demo.scout_url, demo.guardian_url), (None, None))
        self.assertEqual((live.scout_url, live.guardian_url), ("http://localhost:8001", "http://localhost:8003"))
        self.assertEqual((demo.allow_anonymous_loopback, demo.require_monitor), (True, False))
        self.assertEqual((live.allow_anonymous_loopback, live.require_monitor), (False, True))
        self.assertEqual(demo.cors_allowed_origins, ("http://localhost:3000",))
        self.assertEqual(live.cors_allowed_origins, ())

    def test_hyperliquid_is_its_test_network_unless_pear_trades_on_the_main_one(self) -> None:
        self.assertEqual(Config.of(venue="hyperliquid").hyperliquid_api_url, HYPERLIQUID_TESTNET)
        self.assertEqual(Config.of(venue="pear").hyperliquid_api_url, HYPERLIQUID_MAINNET)

    def test_the_environment_of_the_process_is_not_read_behind_the_callers_back(self) -> None:
        with patch.dict(os.environ, {"MAX_POSITIONS": "9", "PAPER_SEED": "11"}):
            self.assertEqual(load_config({}), Config.of())
            self.assertEqual((Config.of().max_positions, load_config({}).paper_seed), (3, 7))

    def test_a_configuration_cannot_be_changed(self) -> None:
        with self.assertRaises(ValidationError):
            Config.of().max_positions = 9

    def test_a_misspelt_override_is_refused(self) -> None:
        with self.assertRaises(ValidationError):
            Config.of(max_position=1)


class Sources(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def file(self, name: str, content: str) -> Path:
        path = self.folder / name
        path.write_text(content, encoding="utf-8")
        return path

    def test_the_environment_wins_over_the_file(self) -> None:
        dotenv = self.file(".env", "MAX_POSITIONS=5\nMAX_LEVERAGE=2\n")
        config = load_config({"MAX_POSITIONS": "4"}, dotenv)
        self.assertEqual((config.max_positions, config.max_leverage), (4, 2))

    def test_a_missing_file_is_no_mistake(self) -> None:
        self.assertEqual(load_config({}, self.folder / ".env"), Config.of())

    def test_a_file_that_is_no_text_is_one(self) -> None:
        path = self.folder / ".env"
        path.write_bytes(b"PAPER_SEED=\xff\xfe\n")
        self.assertEqual(
            mistakes_in({}, path), [".env: cannot be read as UTF-8 text; check its permissions and encoding"]
        )

    def test_what_is_of_another_kind_is_told_in_plain_words(self) -> None:
        for name, word, line in (
            ("ALLOW_ANONYMOUS_LOOPBACK", "maybe", "must be true or false"),
            ("DEMO_MODE", "maybe", "must be true or false; without it the default is true"),
            ("MAX_POSITIONS", "1.5", "must be a whole number; without it the default is 3"),
            ("MAX_ALLOCATION", "1,5", "must be a number; without it the default is 0.30"),
            ("AGENT_TIMEOUT_SECONDS", "5 s", "must be a number; without it the default is 5.0"),
        ):
            self.assertEqual([f"{name}: {line}"], mistakes_in({name: word}))

    def test_a_line_that_sets_nothing_is_one(self) -> None:
        """A limit that was written so was its default, which may be the looser one."""
        for line in ("MAX_POSITIONS: 1", "MAX_POSITIONS 1", "set MAX_POSITIONS=1", 'SECRET_KEY="abc'):
            with self.subTest(line):
                dotenv = self.file(".env", f"# limits\n\n{line}\n")
                self.assertEqual([".env: line 3 is no NAME=value; mend it or remove it"], mistakes_in({}, dotenv))

    def test_a_variable_that_is_set_twice_to_different_values_is_one(self) -> None:
        dotenv = self.file(".env", "MAX_POSITIONS=1\nMAX_POSITIONS=5\n")
        self.assertEqual(
            ["MAX_POSITIONS: is set twice in .env, to different values; remove one of them"], mistakes_in({}, dotenv)
        )
        for text in ("MAX_POSITIONS=1\nMAX_POSITIONS=1\n", "MAX_POSITIONS=\nexport MAX_POSITIONS=1 # one\n"):
            with self.subTest(text):
                self.assertEqual(1, load_config({}, self.file(".env", text)).max_positions)

    def test_what_is_meant_for_other_programs_is_left_to_them(self) -> None:
        dotenv = self.file(".env", "COMPOSE_FILE=a\nCOMPOSE_FILE=b\nOTHER\nMAX_POSITIONS=2\n")
        self.assertEqual(2, load_config({}, dotenv).max_positions)

    def test_a_dollar_in_the_file_stays_a_dollar(self) -> None:
        dotenv = self.file(".env", "PEAR_API_KEY=ab${HOME}cd\n")
        key = load_config({}, dotenv).pear_api_key
        self.assertEqual(key.get_secret_value() if key else None, "ab${HOME}cd")

    def test_blanks_and_placeholders_count_as_unset(self) -> None:
        for text in ("", "  ", "your_key_here", "YOUR-API-KEY", "changeme", "change_me", "<your key>", "xxx", "..."):
            with self.subTest(text):
                self.assertIsNone(load_config({"PEAR_API_KEY": text}).pear_api_key)
                self.assertEqual(load_config({"MAX_POSITIONS": text}).max_positions, 3)

    def test_any_secret_may_come_from_a_file(self) -> None:
        texts = {
            "SECRET_KEY": "k" * 60,
            "API_TOKENS": f"a:admin:{DIGEST}",
            "REDIS_URL": "redis://:pw@localhost:1/0",
            "HYPERLIQUID_WALLET_KEY": WALLET_KEY,
            "HYPERLIQUID_KEYSTORE_PASSWORD": "pw",
            "PEAR_API_KEY": "key",
            "ALERT_URLS": "json://localhost/a",
        }
        self.assertEqual(set(texts), SECRETS)
        for name, text in texts.items():
            with self.subTest(name):
                path = self.file(name, f"{text}\n")
                self.assertEqual(load_config({f"{name}_FILE": str(path)}), load_config({name: text}))

    def test_what_is_hidden_in_the_records_text_is_known_as_a_secret(self) -> None:
        hidden = {name.upper() for name, field in Config.model_fields.items() if not field.repr}
        typed = {name.upper() for name, field in Config.model_fields.items() if "SecretStr" in str(field.annotation)}
        self.assertEqual(hidden | typed | {"API_TOKENS"}, SECRETS)

    def test_a_secret_file_that_cannot_be_read_is_named_without_its_path(self) -> None:
        lines = mistakes_in({"PEAR_API_KEY_FILE": str(self.folder / "absent")})
        self.assertEqual(
            lines, ["PEAR_API_KEY_FILE: the file it names cannot be read as text; check the path and its permissions"]
        )

    def test_an_empty_secret_file_leaves_the_secret_unset(self) -> None:
        self.assertIsNone(load_config({"PEAR_API_KEY_FILE": str(self.file("key", "\n"))}).pear_api_key)

    def test_a_secret_and_its_file_in_one_place_contradict_each_other(self) -> None:
        path = self.file("key", "from the file")
        lines = mistakes_in({"PEAR_API_KEY": "given", "PEAR_API_KEY_FILE": str(path)})
        self.assertEqual(lines, ["PEAR_API_KEY: is set together with PEAR_API_KEY_FILE; remove one of them"])

    def test_the_environment_wins_whichever_of_the_two_forms_it_uses(self) -> None:
        dotenv = self.file(".env", f"PEAR_API_KEY_FILE={self.file('key', 'from the file')}\n")
        key = load_config({"PEAR_API_KEY": "from the environment"}, dotenv).pear_api_key
        self.assertEqual(key.get_secret_value() if key else None, "from the environment")

    def test_a_name_in_the_file_that_looks_like_ours_is_a_mistake(self) -> None:
        for name, meant in (
            ("MAX_POSITION", "MAX_POSITIONS"),
            ("max_allocation", "MAX_ALLOCATION"),
            ("PEAR_APIKEY", "PEAR_API_KEY"),
            ("MAX_POSITIONS_FILE", "MAX_POSITIONS"),
        ):
            with self.subTest(name):
                lines = mistakes_in({}, self.file(".env", f"{name}=1\n"))
                self.assertEqual(lines, [f"{name}: no such variable in .env; did you mean {meant}?"])

    def test_names_of_other_programs_in_the_file_are_left_alone(self) -> None:
        self.assertEqual(mistakes_in({}, self.file(".env", "OPENAI_API_BASE=x\nCOMPOSE_FILE=y\nexport PATH=z\n")), [])

    def test_a_name_without_a_value_in_the_file_is_unset(self) -> None:
        self.assertEqual(load_config({}, self.file(".env", "MAX_POSITIONS\n")), Config.of())


class Bounds(unittest.TestCase):
    def test_values_inside_their_bounds_are_taken_exactly(self) -> None:
        for name, text, value in (
            ("MAX_ALLOCATION", "1", Decimal(1)),
            ("STOP_LOSS", "0.002", Decimal("0.002")),
            ("STOP_LOSS", "0.5", Decimal("0.5")),
            ("TAKE_PROFIT", "5", Decimal(5)),
            ("TAKE_PROFIT", "0.001", Decimal("0.001")),
            ("COOLDOWN_SECONDS", "0", 0),
            ("VENUE_WEIGHT_PER_MINUTE", "0", 0),
            ("VENUE_WEIGHT_PER_MINUTE", "160", 160),
            ("MAX_HOLDING_SECONDS", "60", 60),
            ("MONITOR_INTERVAL_SECONDS", "0.25", 0.25),
            ("MONITOR_INTERVAL_SECONDS", "60", 60.0),
            ("DEBUG", "yes", True),
            ("ALLOWED_HOSTS", "desk.example.org, .example.net ,[::1]", ("desk.example.org", ".example.net", "[::1]")),
            ("CORS_ALLOWED_ORIGINS", "https://a.example:8443", ("https://a.example:8443",)),
            ("REDIS_URL", "unix:///tmp/redis.sock?db=3", "unix:///tmp/redis.sock?db=3"),
            ("REDIS_URL", "rediss://:a@localhost/?ssl_cert_reqs=none", "rediss://:a@localhost/?ssl_cert_reqs=none"),
            ("SCOUT_URL", "http://127.0.0.1:8001/", "http://127.0.0.1:8001"),
            ("SCOUT_URL", "https://scout.example", "https://scout.example"),
            ("HYPERLIQUID_ACCOUNT_ADDRESS", "0x" + "AB" * 20, "0x" + "ab" * 20),
            ("DATA_DIR", "elsewhere", PROJECT_ROOT / "elsewhere"),
            ("DATA_DIR", "/var/lib/desk", Path("/var/lib/desk")),
        ):
            with self.subTest(name=name, text=text):
                self.assertEqual(getattr(load_config({name: text}), name.lower()), value)

    def test_values_outside_their_bounds_are_refused_by_name(self) -> None:
        for name, *texts in (
            ("EXECUTOR_PORT", "0", "65536", "http"),
            ("DEMO_MODE", "maybe"),
            ("VENUE", "binance", "PEAR"),
            ("ALLOWED_HOSTS", "*", "http://a", "a:80"),
            ("CORS_ALLOWED_ORIGINS", "*", "localhost:3000", "http://a/path", "http://a:99999"),
            ("API_TOKENS", "a:b", f"a:root:{DIGEST}", "a:read:abc", f"a:read:{DIGEST},a:trade:{DIGEST}"),
            ("THROTTLE_READ_PER_MINUTE", "-1"),
            ("REDIS_HOST", "a/b", "127.0.0.1:6379", "localhost:6379", ":", "[", "1::2::3"),
            ("REDIS_URL", "http://localhost", "localhost:6379", "redis://localhost:port", "redis://localhost/three"),
            ("REDIS_URL", "redis://localhost/-1", "redis://localhost/3/4", "redis://localhost?db=three"),
            ("REDIS_URL", "redis://localhost/3?ssl=true", "rediss://localhost/3?ssl_cert_reqs=perhaps"),
            (
                "SCOUT_URL",
                "http://example.org",
                "ftp://example.org",
                "https://u:p@example.org",
                "scout",
                "https://[::1",
            ),
            ("GUARDIAN_URL", "https://example.org?key=1"),
            ("AGENT_TIMEOUT_SECONDS", "0", "inf", "nan", "61"),
            ("SCOUT_TIMEZONE", "Mars/Olympus", "../etc", "+02:00"),
            ("MIN_SIGNAL_CONFIDENCE", "1.1", "-0.1", "NaN"),
            ("MAX_POSITIONS", "0", "2.5", "many"),
            ("MAX_ALLOCATION", "0", "1.0001", "-1", "NaN", "Infinity"),
            ("MAX_LEVERAGE", "0"),
            ("MARGIN_RESERVE", "1", "-0.01"),
            ("STOP_LOSS", "0.0019", "0.51"),
            ("TAKE_PROFIT", "0.0009", "5.1"),
            ("MAX_HOLDING_SECONDS", "0"),
            ("MONITOR_INTERVAL_SECONDS", "0.05", "60.1", "1e400"),
            ("PAPER_EQUITY_USD", "0", "1e400"),
            ("HYPERLIQUID_WALLET_KEY", "0x1234"),
            ("HYPERLIQUID_ACCOUNT_ADDRESS", "0x1234"),
            ("PEAR_CLIENT_ID", "a b"),
            ("VENUE_WEIGHT_PER_MINUTE", "-1", "1", "159"),
        ):
            for text in texts:
                with self.subTest(name=name, text=text):
                    lines = mistakes_in({name: text})
                    self.assertEqual(len(lines), 1, lines)
                    self.assertTrue(lines[0].startswith(f"{name}: "), lines)

    def test_an_address_of_either_kind_may_be_the_host_of_redis(self) -> None:
        for host in ("::1", "[::1]"):
            with self.subTest(host):
                self.assertEqual("redis://[::1]:6379/3", load_config({"REDIS_HOST": host}).redis_url)
        self.assertEqual("redis://127.0.0.1:6379/3", load_config({"REDIS_HOST": "127.0.0.1"}).redis_url)

    def test_a_refusal_names_the_default_where_there_is_one(self) -> None:
        self.assertEqual(
            mistakes_in({"MAX_ALLOCATION": "2"}),
            ["MAX_ALLOCATION: must be less than or equal to 1; without it the default is 0.30"],
        )

    def test_what_is_wrong_with_an_override_that_is_no_text_is_refused_too(self) -> None:
        for name in ("api_tokens", "allowed_hosts"):
            with self.subTest(name), self.assertRaises(ValidationError):
                Config.of(**{name: 7})


class Contradictions(unittest.TestCase):
    def test_a_live_desk_needs_its_secrets(self) -> None:
        lines = mistakes_in({"DEMO_MODE": "false"})
        self.assertEqual(
            [line.partition(":")[0] for line in lines],
            ["SECRET_KEY", "API_TOKENS", "PEAR_API_KEY", "HYPERLIQUID_ACCOUNT_ADDRESS"],
        )
        lines = mistakes_in({"DEMO_MODE": "false", "VENUE": "hyperliquid"})
        self.assertEqual(
            [line.partition(":")[0] for line in lines],
            ["SECRET_KEY", "API_TOKENS", "HYPERLIQUID_WALLET_KEY", "HYPERLIQUID_ACCOUNT_ADDRESS"],
        )

    def test_a_complete_live_configuration_is_taken(self) -> None:
        self.assertEqual(mistakes_in(LIVE_HYPERLIQUID), [])
        self.assertEqual(mistakes_in(LIVE), [])

    def test_combinations_that_cannot_be_meant_are_refused_with_a_remedy(self) -> None:
        loopback = {"HYPERLIQUID_API_URL": "http://127.0.0.1:1", "PEAR_API_URL": "http://localhost:2"}
        keystore = {**LIVE_HYPERLIQUID, "HYPERLIQUID_WALLET_KEY": '{"crypto": {}}'}
        pear_network = f"HYPERLIQUID_API_URL: VENUE=pear trades on the main network; set {HYPERLIQUID_MAINNET}"
        for environ, line in (
            ({"TRAILING_ARM": "0.02"}, "TRAILING_GAP: is missing while TRAILING_ARM is set; set both or neither"),
            ({"TRAILING_GAP": "0.02"}, "TRAILING_ARM: is missing while TRAILING_GAP is set; set both or neither"),
            ({"TRAILING_ARM": "0.02", "TRAILING_GAP": "0.02"}, "TRAILING_GAP: must be smaller than TRAILING_ARM"),
            ({"TRAILING_ARM": "0.02", "TRAILING_GAP": "0.01"}, None),
            (
                {"TWAP_SLICES": "11", "TWAP_DURATION_SECONDS": "10"},
                "TWAP_SLICES: at most one slice a second; lower it or raise TWAP_DURATION_SECONDS",
            ),
            ({"TWAP_SLICES": "10", "TWAP_DURATION_SECONDS": "10"}, None),
            ({**LIVE, "DEBUG": "true"}, "DEBUG: must be false with DEMO_MODE=false"),
            ({"DEBUG": "true"}, None),
            (
                {**LIVE, "SECRET_KEY": "0123456789" * 4 + "012345678"},
                f"SECRET_KEY: must have at least 50 characters; {SECRET_KEY_REMEDY}",
            ),
            (
                {**LIVE, "SECRET_KEY": "django-insecure-" + "0123456789" * 5},
                "SECRET_KEY: must not be the key that Django makes up for a new project, which is in many "
                f"repositories; {SECRET_KEY_REMEDY}",
            ),
            (
                {**LIVE, "SECRET_KEY": "abcd" * 20},
                f"SECRET_KEY: must have at least 5 different characters; {SECRET_KEY_REMEDY}",
            ),
            ({"SECRET_KEY": "short"}, None),
            (
                {**LIVE, "HYPERLIQUID_API_URL": HYPERLIQUID_TESTNET},
                f"{pear_network}, or both addresses to this machine",
            ),
            (
                {**LIVE, "HYPERLIQUID_API_URL": "http://127.0.0.1:1"},
                f"{pear_network}, or both addresses to this machine",
            ),
            ({**LIVE, **loopback}, None),
            ({**LIVE_HYPERLIQUID, "HYPERLIQUID_API_URL": HYPERLIQUID_TESTNET}, None),
            (
                keystore,
                "HYPERLIQUID_KEYSTORE_PASSWORD: is required because HYPERLIQUID_WALLET_KEY is a keystore",
            ),
            ({**keystore, "HYPERLIQUID_KEYSTORE_PASSWORD": "pw"}, None),
        ):
            with self.subTest(line=line, environ=sorted(environ)):
                found = mistakes_in(environ)
                self.assertEqual(found, [] if line is None else [line])

    def test_all_mistakes_are_told_at_once(self) -> None:
        lines = mistakes_in({**LIVE, "MAX_ALLOCATION": "7", "DEBUG": "true", "PAPER_SEED": "x"})
        self.assertEqual([line.partition(":")[0] for line in lines], ["MAX_ALLOCATION", "PAPER_SEED", "DEBUG"])

    def test_a_value_that_is_wrong_is_not_called_missing_too(self) -> None:
        lines = mistakes_in({**LIVE, "API_TOKENS": "nonsense"})
        self.assertEqual([line.partition(":")[0] for line in lines], ["API_TOKENS"])

    def test_a_wrong_value_does_not_drag_along_the_defaults_that_depend_on_it(self) -> None:
        for name in ("DEMO_MODE", "REDIS_PORT", "VENUE"):
            with self.subTest(name):
                self.assertEqual([line.partition(":")[0] for line in mistakes_in({name: "?"})], [name])

    def test_a_test_may_ask_for_a_contradiction(self) -> None:
        self.assertEqual(len(contradictions(Config.of(demo_mode=False))), 4)

    def test_no_line_and_no_text_of_a_configuration_shows_a_secret(self) -> None:
        secret = "hunter2"
        environ = {**dict.fromkeys(SECRETS, secret), "DEMO_MODE": "false"}
        self.assertNotIn(secret, "\n".join(mistakes_in(environ)))
        config = Config.of(
            secret_key=secret,
            redis_url=f"redis://:{secret}@localhost:6379/3",
            hyperliquid_keystore_password=secret,
            pear_api_key=secret,
            alert_urls=f"json://{secret}",
            api_tokens=f"a:read:{DIGEST}",
        )
        self.assertNotIn(secret, f"{config} {config!r}")
        self.assertNotIn(DIGEST, f"{config} {config!r}")
        with self.assertRaises(ValidationError) as caught:
            Config.of(hyperliquid_wallet_key=secret)
        self.assertNotIn(secret, str(caught.exception))


class Records(unittest.TestCase):
    def test_tokens_are_parsed_into_records(self) -> None:
        config = load_config({"API_TOKENS": f"desk:trade:{DIGEST}, ops:admin:{DIGEST}"})
        self.assertEqual(
            config.api_tokens, (ApiToken("desk", Scope.TRADE, DIGEST), ApiToken("ops", Scope.ADMIN, DIGEST))
        )
        self.assertEqual(Config.of(api_tokens=config.api_tokens).api_tokens, config.api_tokens)

    def test_a_scope_covers_itself_and_what_is_below(self) -> None:
        order = [Scope.READ, Scope.TRADE, Scope.ADMIN]
        for one in order:
            for other in order:
                with self.subTest(one=one, other=other):
                    self.assertEqual(one.covers(other), order.index(one) >= order.index(other))

    def test_both_halves_make_a_trailing_stop(self) -> None:
        config = Config.of(trailing_arm="0.02", trailing_gap="0.01")
        self.assertEqual(config.trailing, TrailingStop(Ratio(Decimal("0.02")), Ratio(Decimal("0.01"))))

    def test_the_zone_of_scout_is_utc_even_without_zone_files(self) -> None:
        with patch("trading.conf.ZoneInfo", side_effect=OSError):
            self.assertIs(Config.of().scout_tzinfo, UTC)
        self.assertEqual(Config.of(scout_timezone="Europe/Berlin").scout_tzinfo, ZoneInfo("Europe/Berlin"))

    def test_loopback_is_told_from_the_rest(self) -> None:
        for url, expected in (
            ("http://localhost:1", True),
            ("http://127.8.9.1", True),
            ("http://[::1]:80", True),
            ("http://localhost.example.org", False),
            ("https://10.0.0.1", False),
            ("nonsense", False),
        ):
            with self.subTest(url):
                self.assertEqual(is_loopback(url), expected)


class Refusal(unittest.TestCase):
    """What an operator sees when the service does not start."""

    def run_with_mistakes(self, *command: str) -> "subprocess.CompletedProcess[str]":
        environ = environ_of(MAX_ALLOCATION="7", DEMO_MODE="true")
        return subprocess.run(
            (sys.executable, *command),
            cwd=PROJECT_ROOT,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def test_every_door_ends_with_plain_lines_and_a_code(self) -> None:
        line = "  MAX_ALLOCATION: must be less than or equal to 1; without it the default is 0.30\n"
        for command in (
            ("manage.py", "check"),
            ("manage.py", "runserver", "0"),
            ("-m", "gunicorn", "--no-control-socket", "--bind", "127.0.0.1:0", "executor_agent.wsgi:application"),
        ):
            with self.subTest(command=command[1]):
                done = self.run_with_mistakes(*command)
                self.assertEqual(done.returncode, 3, done.stderr)
                self.assertIn(line, done.stderr)
                self.assertNotIn("Traceback", done.stderr)
