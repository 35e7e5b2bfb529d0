"""docs/going-live.md, followed to the letter: each block marked `sh`, from a fresh clone to a trade in production mode.

Only what a reader fills in is filled in, and the exchange is the simulator in place of the test network. The clone is
lent the dependencies of this very environment; with GOING_LIVE=fresh it installs its own.
"""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import unittest
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.processes import wait_until
from tests.servers.service import family_of
from tests.servers.test_live_hyperliquid import AGENT_KEY, MASTER, LiveCase
from trading.conf import HYPERLIQUID_TESTNET, PROJECT_ROOT

DOCUMENT = PROJECT_ROOT / "docs" / "going-live.md"
FRESH = os.environ.get("GOING_LIVE") == "fresh"
BLOCK_SECONDS = 600 if FRESH else 180
PASSWORD = "a password of the rehearsal"
TOKEN = "<the operator's token>"
SIGNAL = "signal_of_the_rehearsal"
NOT_PART_OF_IT = (
    ".git",
    ".venv",
    ".env",
    "data",
    "data-*",
    "secrets",
    ".*_cache",
    ".net",
    ".interop",
    ".lint",
    ".peers",
    "__pycache__",
)
STAMPS = (".created", ".runtime", ".tools")
LOOPBACK = "0100007F"
TOOLS = ("git", "make", "curl", "bash")

_BLOCK = re.compile(
    r"^```sh(?P<background> background)?\n(?P<commands>.*?)^```\n(?P<after>(?:\n(?:\|[^\n]*\n)+)?)", re.M | re.S
)
_ROW = re.compile(r"^\| (?P<asked>[^|]+) \| `(?P<answer>[^`]+)` \|$", re.M)
_BLANK = re.compile(r"<[^<>\n]+>")


@dataclass(frozen=True, slots=True)
class Block:
    """Commands of the document, and what it says they ask and are answered."""

    commands: str
    dialogue: tuple[tuple[str, str], ...]
    background: bool


def blocks_in(text: str) -> Iterator[Block]:
    for match in _BLOCK.finditer(text):
        dialogue = tuple((row["asked"], row["answer"]) for row in _ROW.finditer(match["after"]))
        yield Block(match["commands"], dialogue, match["background"] is not None)


def listening_at(port: int) -> set[str]:
    """The addresses at which this machine takes connections to *port*, as the kernel writes them (proc(5))."""
    lines = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()]
    return {at.partition(":")[0] for _, at, _, state, *_ in lines if at.endswith(f":{port:04X}") and state == "0A"}


class DocumentTest(unittest.TestCase):
    def test_blocks_and_their_tables_are_found(self) -> None:
        table = "\n| it asks | you answer |\n|---|---|\n| A | `<x>` |\n"
        text = f"words\n```sh\na\nb\n```\n{table}\n```\nno\n```\n```sh background\nc\n```\n"
        self.assertEqual([*blocks_in(text)], [Block("a\nb\n", (("A", "<x>"),), False), Block("c\n", (), True)])

    def test_the_document_goes_all_the_way(self) -> None:
        commands = "".join(one.commands for one in blocks_in(DOCUMENT.read_text(encoding="utf-8")))
        for step in ("git clone", "make setup", "create_api_token", "serve", "doctor", "trades/execute", "/close"):
            self.assertIn(step, commands)


@unittest.skipUnless(all(map(shutil.which, TOOLS)), f"needs {', '.join(TOOLS)}")
class GoingLiveTest(LiveCase):
    def setUp(self) -> None:
        super().setUp()
        self.here = self.folder / "work"
        self.here.mkdir()
        self.clone = self.here / "executor-agent"
        self.screen = ""
        self.filled_in = {
            "<address of this repository>": str(self.repository()),
            "<the password>": PASSWORD,
            "<the API wallet's key>": AGENT_KEY,
            "<the account's address>": MASTER,
            "<a signal's id>": SIGNAL,
            HYPERLIQUID_TESTNET: self.exchange,
            "http://localhost:8001": self.scout.url,
            "http://localhost:8003": self.guardian,
            "8004": str(self.port),
        }

    def repository(self) -> Path:
        """What is here now, committed, as a repository to clone."""
        source = self.folder / "repository"
        shutil.copytree(PROJECT_ROOT, source, ignore=shutil.ignore_patterns(*NOT_PART_OF_IT))
        author = ("-c", "user.name=x", "-c", "user.email=x@localhost")
        for words in (("init", "-q"), ("add", "-A"), (*author, "commit", "-qm", "what is here now")):
            subprocess.run(("git", *words), cwd=source, check=True)  # noqa: S607 - the git of the PATH
        return source

    def lend_environment(self) -> None:
        """This environment as the clone's own, installed after everything that it is installed from."""
        lent = self.clone / ".venv"
        lent.mkdir()
        for path in (Path(sys.prefix) / name for name in ("bin", "lib", "pyvenv.cfg")):
            if path.exists():
                (lent / path.name).symlink_to(path)
        for name in STAMPS:
            (lent / name).touch()

    def filled(self, text: str) -> str:
        for blank, value in self.filled_in.items():
            text = text.replace(blank, value)
        self.assertEqual([], _BLANK.findall(text), "nobody says what to fill in there")
        return text

    @property
    def environ(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "TMPDIR": str(self.folder)}

    def follow(self, block: Block) -> None:
        """Run one block where the one before it ended, with its variables, and fail with what it says."""
        state = self.folder / "state"
        state.touch()
        script = f". {state}\n{self.filled(block.commands)}\n{{ echo cd \"'$PWD'\"; export -p; }} > {state}"
        done = subprocess.run(
            ("bash", "-euo", "pipefail", "-c", script),  # noqa: S607 - the bash of the PATH
            cwd=self.here,
            env=self.environ,
            input="".join(f"{self.filled(answer)}\n" for _, answer in block.dialogue),
            capture_output=True,
            text=True,
            timeout=BLOCK_SECONDS,
            check=False,
        )
        self.screen = done.stdout
        self.assertEqual(0, done.returncode, f"{block.commands}\n{done.stdout}\n{done.stderr}")
        if "make setup" in block.commands:
            asked = [self.screen.find(words) for words, _ in block.dialogue]
            self.assertNotIn(-1, asked)
            self.assertEqual((sorted(asked), len(asked)), (asked, len(re.findall(r": $", self.screen, re.M))))

    def learn(self) -> None:
        """What a reader would copy from the screen."""
        if found := re.search(r"Token of operator, .*:  (\S+)", self.screen):
            self.filled_in[TOKEN] = found[1]
        if found := re.search(r'"position_id": ?"(\w+)"', self.screen):
            self.filled_in["<its position_id>"] = found[1]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.filled_in.get(TOKEN, '')}"}

    def serve(self, block: Block) -> "subprocess.Popen[bytes]":
        """Run one block in a terminal of its own, until the service says that it is ready."""
        with self.output.open("wb") as output:
            service = subprocess.Popen(
                ("bash", "-c", f"exec {self.filled(block.commands)}"),  # noqa: S607 - the bash of the PATH
                cwd=self.clone,
                env=self.environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.addCleanup(service.wait)
        self.addCleanup(service.kill)
        wait_until(lambda: self.said("is ready on") or service.poll() is not None, "getting ready", BLOCK_SECONDS)
        self.assertIsNone(service.poll(), self.output.read_text(encoding="utf-8"))
        wait_until(self.is_healthy, "being healthy")
        # All that came before may have taken longer than a signal is fresh.
        self.offer(SIGNAL)
        return service

    def test_the_document_leads_from_a_clone_to_a_closed_trade(self) -> None:
        services = []
        for block in blocks_in(DOCUMENT.read_text(encoding="utf-8")):
            if block.background:
                services.append(self.serve(block))
            else:
                self.follow(block)
            self.learn()
            if not (FRESH or (self.clone / ".venv").exists()):
                self.lend_environment()
        (service,) = services
        self.assert_as_promised(service)
        service.send_signal(signal.SIGTERM)
        self.assertEqual(service.wait(15), 0)

    def assert_as_promised(self, service: "subprocess.Popen[bytes]") -> None:
        """Production mode under gunicorn, for token holders only; one trade, opened and closed on the exchange."""
        programs = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in family_of(service.pid)]
        self.assertTrue(any(b"gunicorn" in one for one in programs))
        self.assertEqual(listening_at(self.port), {LOOPBACK})
        self.assertEqual(stat.S_IMODE((self.clone / ".env").stat().st_mode), 0o600)
        self.assertNotIn(AGENT_KEY[2:], (self.clone / ".env").read_text(encoding="utf-8"))
        self.assertFalse(self.ask("GET", "/api/health")[1]["demo_mode"])
        (position,) = self.positions()
        self.assertEqual((position["status"], position["exit_reason"]), ("closed", "MANUAL"))
        fills = self.truth()["fills"]
        assert isinstance(fills, list)
        self.assertEqual({"BTC", "ETH"}, {one["coin"] for one in fills})
        self.assertEqual(self.held(), {})
        self.assert_account_explained()
