"""No secret leaves the service: under load, faults and bad input, all that it writes and says is searched for each."""

import base64
import hashlib
import http.client
import json
import signal
import stat
import subprocess
import sys
import unittest
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from eth_account import Account

from executor_agent.redis_server import answers, installed_programs
from tests.processes import environ_of, wait_until
from tests.servers.pear import API_KEY
from tests.servers.service import ASK_SECONDS, family_of
from tests.servers.sibling import Reply
from tests.servers.test_live_hyperliquid import AGENT_KEY, DETAIL
from tests.servers.test_live_pear import OPEN, PearCase
from trading.conf import PROJECT_ROOT, SECRETS

TOKEN = "token-MARK-of-the-operator-0123456789abcdef"
PASSWORD = "keystore-MARK-password"
REDIS_PASSWORD = "redis-MARK-password"
SECRET_KEY = "django-MARK-" + "k" * 50
ALERT_PATH = "alert-MARK-path"
DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()
KEYSTORE = json.dumps(Account.encrypt(bytes.fromhex(AGENT_KEY[2:]), PASSWORD, kdf="pbkdf2", iterations=2))
CIPHERTEXT = json.loads(KEYSTORE)["crypto"]["ciphertext"]

# What must be found nowhere, by the variable that it comes from.
HIDDEN: dict[str, tuple[str, ...]] = {
    "SECRET_KEY": (SECRET_KEY,),
    "API_TOKENS": (TOKEN, DIGEST),
    "REDIS_URL": (REDIS_PASSWORD,),
    "HYPERLIQUID_WALLET_KEY": (AGENT_KEY[2:], CIPHERTEXT),
    "HYPERLIQUID_KEYSTORE_PASSWORD": (PASSWORD,),
    "PEAR_API_KEY": (API_KEY,),
    "ALERT_URLS": (ALERT_PATH,),
}
ROUTES = (
    *("/api/health", "/", "/metrics", "/api/positions", "/api/trades", "/api/fills", "/api/signals", "/api/portfolio"),
    *("/api/agent/logs?limit=1000", "/api/time_windows", "/api/schema", "/api/docs", "/api/positions?format=csv"),
    *(
        "/api/positions/nothing",
        "/nowhere",
        "/api/trades?limit=none",
        "/static/docs/docs.js",
        "/static/../.env",
        "/.env",
    ),
)
BAD_BODIES = (b"", b"[]", b"{", b'{"signal_id": 7}', b"\xff", b'{"a":' * 40, b'{"x": "' + b"y" * 70_000 + b'"}')


def spellings(secret: str) -> Iterator[bytes]:
    """The forms in which a secret may turn up."""
    for text in {secret, secret.upper(), secret[::-1], urllib.parse.quote(secret, safe=""), secret.encode().hex()}:
        yield text.encode()
    yield base64.b64encode(secret.encode()).rstrip(b"=")[:-1]


def leaks_in(what: bytes) -> list[str]:
    """The variables of which something is in *what*."""
    return [name for name, secrets in HIDDEN.items() if any(one in what for text in secrets for one in spellings(text))]


class SearchTest(unittest.TestCase):
    def test_every_secret_is_found_in_every_spelling(self) -> None:
        for name, secrets in HIDDEN.items():
            for secret in secrets:
                for text in (
                    secret,
                    secret.upper(),
                    repr(secret),
                    f"//:{secret}@",
                    base64.b64encode(secret.encode()).decode(),
                ):
                    with self.subTest(name, text=text[:20]):
                        self.assertEqual(leaks_in(f"... {text} ...".encode()), [name])
        self.assertEqual(leaks_in(b"nothing of the kind"), [])


class RefusedStartTest(unittest.TestCase):
    def test_a_start_that_is_refused_shows_none_of_them_either(self) -> None:
        wrong = {name: f"http://{secrets[0]} is wrong" for name, secrets in HIDDEN.items()} | {"SECRET_KEY": "MARK"}
        environ = environ_of(DEMO_MODE="false", VENUE="hyperliquid", **wrong)
        done = subprocess.run(
            (sys.executable, "manage.py", "serve"),
            cwd=PROJECT_ROOT,
            env=environ,
            capture_output=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.returncode, 3)
        self.assertNotIn(b"MARK", done.stdout + done.stderr)
        self.assertEqual([], leaks_in(done.stdout + done.stderr))
        for name in ("SECRET_KEY", "API_TOKENS", "REDIS_URL", "HYPERLIQUID_WALLET_KEY"):
            self.assertIn(f"  {name}: ".encode(), done.stderr)


class SecretsTest(PearCase):
    """Through Pear, with a key of the desk's own beside it, so that every kind of secret is in use."""

    direct = True

    def setUp(self) -> None:
        super().setUp()
        self.redis_url = f"unix://:{REDIS_PASSWORD}@{self.folder}/redis.sock?db=3"
        self.redis = self.start_redis()

    def start_redis(self) -> "subprocess.Popen[bytes] | None":
        """One that wants a password; None where no server is installed, and then its address leads nowhere."""
        program = next(installed_programs(), None)
        if program is None:
            return None
        socket = ("--port", "0", "--unixsocket", f"{self.folder}/redis.sock", "--save", "", "--dir", str(self.folder))
        process = subprocess.Popen(
            (program.path, *socket, "--requirepass", REDIS_PASSWORD), stdout=subprocess.DEVNULL, start_new_session=True
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        wait_until(lambda: answers(self.redis_url), "Redis")
        return process

    @property
    def environ(self) -> dict[str, str]:
        secret_file = self.folder / "secret_key"
        secret_file.write_text(SECRET_KEY, encoding="utf-8")
        return {
            **{name: text for name, text in super().environ.items() if name != "SECRET_KEY"},
            "SECRET_KEY_FILE": str(secret_file),
            "API_TOKENS": f"operator:admin:{DIGEST}",
            "REDIS_URL": self.redis_url,
            "HYPERLIQUID_WALLET_KEY": KEYSTORE,
            "HYPERLIQUID_KEYSTORE_PASSWORD": PASSWORD,
            "ALERT_URLS": f"json://127.0.0.1:1/{ALERT_PATH}",
        }

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {TOKEN}"}

    def raw(self, method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
        """Everything that one request is answered, headers included; nothing where the connection breaks off."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ASK_SECONDS)
        try:
            connection.request(method, path, body, {**self.headers, "Content-Type": "application/json", **headers})
            response = connection.getresponse()
            return str(response.getheaders()).encode() + response.read()
        except (OSError, http.client.HTTPException):
            return b""
        finally:
            connection.close()

    def load(self) -> list[bytes]:
        """Good and bad requests, many at once: with the token, with half of it, and with it in wrong places."""
        asked: list[tuple[str, str, bytes | None, dict[str, str]]] = [
            (method, path, None, headers)
            for path in ROUTES
            for method in ("GET", "DELETE")
            for headers in ({}, {"Authorization": f"Bearer {TOKEN[:-1]}"}, {"X-Forwarded-For": TOKEN})
        ]
        for body in (*BAD_BODIES, json.dumps({"signal_id": TOKEN, TOKEN: 1}).encode()[:20]):
            asked += [("POST", "/api/trades/execute", body, {}), ("POST", "/api/resume", body, {"Origin": "null"})]
            asked += [
                ("PATCH", "/api/positions/x", body, {"Cookie": "sessionid=no"}),
                ("POST", "/api/trades/preview", body, {}),
            ]
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda one: self.raw(one[0], one[1], one[2], **one[3]), asked))

    def trade_under_faults(self) -> None:
        self.assertEqual(self.execute("whole")[0], 201)
        self.control({**DETAIL, "answer": "garbage", "commit": "before"})
        self.at_pear({**OPEN, "answer": "garbage", "commit": "never"})
        self.execute("garbled")
        self.at_pear({"do": "tokens", "forget": True})
        self.control({"do": "lift"})
        self.at_pear({"do": "lift"})
        if self.redis is not None:
            self.redis.kill()
        self.scout.script(Reply(breaks_off=True))
        self.ask("POST", "/api/trades/execute", {"signal_id": "no Scout", "position_size": 1000})
        wait_until(lambda: self.ask("POST", "/api/emergency_stop", {})[0] == 200, "the stop")

    def test_nothing_that_the_service_writes_or_says_holds_a_secret(self) -> None:
        self.assertEqual(set(HIDDEN), SECRETS)
        service = self.start()
        wait_until(self.is_healthy, "being healthy")
        said = {"answers before": b"\n".join(self.load())}
        self.trade_under_faults()
        said["answers after"] = b"\n".join(self.load())
        said["process list"] = b"\n".join(
            Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (service.pid, *family_of(service.pid))
        )
        with ThreadPoolExecutor() as pool:
            for done in pool.map(self.command, ("doctor", "verify_ledger", "send_test_alert")):
                said[str(done.args)] = (done.stdout + done.stderr).encode()
        service.send_signal(signal.SIGTERM)
        self.assertEqual(service.wait(15), 0)
        said |= {
            str(path): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and path.name != "secret_key"
        }
        said["what siblings are asked"] = b"\n".join(
            str(one.headers).encode() + one.body for one in self.scout.received
        )
        self.assertGreater(len(said["answers before"]), 100_000)
        self.assertGreater(len(said[str(self.folder / "data" / "agent_logs.json")]), 500)
        self.assertEqual({}, {name: found for name, text in said.items() if (found := leaks_in(text))})
        for path in (self.folder / "data", *(self.folder / "data").rglob("*")):
            self.assertEqual(0o700 if path.is_dir() else 0o600, stat.S_IMODE(path.stat().st_mode), path)
