"""The documentation, run: each block marked `sh` of the pages below, in order, against a demo service of its own.

The law: a command in the documentation that fails fails the build, and one that is not run says why, in a comment
before it (`<!-- shown only: ... -->`); nothing of the developer's is touched: folder, port and Redis are made for this
and gone afterwards. `python -m tests.documents`.
"""

import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.processes import free_port
from trading.conf import PROJECT_ROOT

SCENARIOS = sorted(path.stem for path in (PROJECT_ROOT / "docs" / "scenarios").glob("*.md"))
NAMES = ("quick-start", "api", "operations", "scenarios", *(f"scenarios/{one}" for one in SCENARIOS), "faq")
# README last: what it opens stays open.
PAGES = (*(f"docs/{name}.md" for name in NAMES), "docs/performance.md", "README.md")
FOLLOWED_ELSEWHERE = {"docs/going-live.md": "make going-live, and tests.servers.test_going_live"}
BASH = shutil.which("bash") or "/bin/bash"
BLOCK_SECONDS = 120
START_SECONDS = 120.0
SAID_CHARS = 3000
_BLOCK = re.compile(r"^```sh(?P<how> stopped)?\n(?P<commands>.*?)^```$", re.MULTILINE | re.DOTALL)
# What four blanks make a block of commands, with the comment before it.
_SHOWN = re.compile(
    r"(?:^<!-- shown only: (?P<why>[^\n]+) -->\n\n)?(?<=\n\n)(?P<commands>(?:^ {4}[^\n]*\n(?:\n(?= {4}))?)+)",
    re.MULTILINE,
)
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?P<target>[^)#:\s]+\.md)(#[^)]*)?\)")


@dataclass(frozen=True, slots=True)
class Block:
    """One block of commands: where it stands, and whether the service is stopped meanwhile."""

    page: str
    line: int
    commands: str
    stopped: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """A block that is not run: where it stands and why; empty when it does not say."""

    page: str
    line: int
    why: str


class Failed(Exception):
    """A page is wrong; the words say where and what was said."""


def blocks_of(page: str) -> tuple[Block, ...]:
    """Every marked block of *page*, in order."""
    text = (PROJECT_ROOT / page).read_text(encoding="utf-8")
    return tuple(
        Block(page, text[: found.start()].count("\n") + 2, found["commands"], bool(found["how"]))
        for found in _BLOCK.finditer(text)
    )


def shown_in(page: str) -> tuple[Shown, ...]:
    """Every block of *page* that is only shown, in order."""
    # Fenced blocks are blanked out, so that what is indented in them is nobody else's and lines keep their numbers.
    text = (PROJECT_ROOT / page).read_text(encoding="utf-8")
    text = _FENCED.sub(lambda found: "\n" * found[0].count("\n"), text)
    return tuple(
        Shown(page, text[: found.start("commands")].count("\n") + 1, found["why"] or "")
        for found in _SHOWN.finditer(text)
    )


def told(page: str) -> str:
    """One line: how many blocks ran, and how many did not and why. Raises Failed for a block that does not say why."""
    silent = [f"{page}, line {one.line}: neither run nor said why" for one in shown_in(page) if not one.why]
    if silent:
        raise Failed("\n".join(silent))
    ran, whys = len(blocks_of(page)), Counter(one.why for one in shown_in(page))
    parts = [f"{ran} block{'s' if ran > 1 else ''} ran"] if ran else []
    parts += [f"{count} shown only ({why})" for why, count in whys.items()]
    return f"{page}: {', '.join(parts) or 'no commands'}"


def dead_links() -> tuple[str, ...]:
    """Links to pages that are not there."""
    dead = []
    for path in (PROJECT_ROOT / "README.md", *sorted((PROJECT_ROOT / "docs").rglob("*.md"))):
        for found in _LINK.finditer(path.read_text(encoding="utf-8")):
            if not (path.parent / found["target"]).is_file():
                dead.append(f"{path.relative_to(PROJECT_ROOT)}: {found['target']}")
    return tuple(dead)


class Service:
    """A demo in *folder*, started and stopped as the pages want it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self.environ = {
            **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")},
            "TMPDIR": str(folder),
            "DEMO_MODE": "true",
            "EXECUTOR_PORT": str(self.port),
            "DATA_DIR": str(folder / "data"),
            "REDIS_URL": "redis://127.0.0.1:1/3",
            "PYTHON": sys.executable,
            "ROOT": str(PROJECT_ROOT),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                (sys.executable, "manage.py", "serve"),
                cwd=PROJECT_ROOT,
                env=self.environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        give_up_at = time.monotonic() + START_SECONDS
        while not self._is_healthy():
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                raise Failed("the service did not start:\n" + (self.folder / "output").read_text(encoding="utf-8"))
            time.sleep(0.1)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(20)
            self._process = None

    def run(self, block: Block) -> None:
        """Raises Failed when a command of *block* does. What it exports is there for the next."""
        before = self.folder / "exports"
        commands = block.commands.replace("127.0.0.1:8004", f"127.0.0.1:{self.port}")
        commands = commands.replace(".venv/bin/python manage.py", '"$PYTHON" "$ROOT/manage.py"')
        script = f"set -euo pipefail\n[ ! -f {before} ] || . {before}\n{commands}\nexport -p > {before}\n"
        try:
            found = subprocess.run(
                (BASH, "-c", script),
                cwd=self.folder,
                env=self.environ,
                capture_output=True,
                text=True,
                timeout=BLOCK_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise Failed(f"{block.page}, line {block.line}: not done after {BLOCK_SECONDS} s") from late
        if found.returncode:
            said = (found.stdout + found.stderr)[-SAID_CHARS:]
            raise Failed(f"{block.page}, line {block.line}: ended with {found.returncode}\n{block.commands}\n{said}")

    def _is_healthy(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/api/health")
            return b'"status":"healthy"' in connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@contextmanager
def serving() -> Iterator[Service]:
    """A service that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="executor_docs_") as folder:
        service = Service(Path(folder))
        try:
            service.start()
            yield service
        finally:
            service.stop()


def main() -> int:
    """Run every page; 1 when one is wrong."""
    dead = dead_links()
    if dead:
        print("links to nowhere:", *dead, sep="\n  ")
        return 1
    began, count = time.monotonic(), 0
    try:
        lines = {page: told(page) for page in PAGES}
        with serving() as service:
            for page in PAGES:
                for block in blocks_of(page):
                    if block.stopped:
                        service.stop()
                    service.run(block)
                    if block.stopped:
                        service.start()
                    count += 1
                print(lines[page], flush=True)
    except Failed as failure:
        print(failure)
        return 1
    for page, how in FOLLOWED_ELSEWHERE.items():
        print(f"{page}: followed by {how}")
    print(f"{count} blocks in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
