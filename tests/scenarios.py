"""Every scenario of the paper venue played on a desk in standing time, and the documentation's pages that show them.

The law: the same code gives the same lines, so that the pages can be compared with what the desk does. Writes them:
`python -m tests.scenarios`; with `--check` it compares, and ends with 1 when one is not what the desk does.
"""

import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import django

from tests.fakes import NOON, FakeClock
from trading.conf import Config
from trading.engine import monitor
from trading.engine.desk import Desk
from trading.engine.monitor import Watchman

DOCS = Path(__file__).resolve().parent.parent / "docs"
# Barriers so wide that the market of the demo, which is lively, does not come between.
BARRIERS = {"position_size": 1000, "stop_loss": 0.04, "take_profit": 0.05}


@dataclass(frozen=True, slots=True)
class Scene:
    """What is staged, for a trade of which pair and whether before it, and what to look at. Each has a pair of its own,
    so that the pause after a loss in one keeps nobody from watching the next."""

    title: str
    pair: str
    body: str
    before: bool
    says: str
    watch_seconds: int = 20
    closes: bool = False
    opens: bool = True

    @property
    def kind(self) -> str:
        return str(json.loads(self.body)["kind"])

    @property
    def trade(self) -> Mapping[str, object]:
        return {"signal_id": f"watch_{self.kind}", "pair": self.pair, **BARRIERS}


SCENES: tuple[Scene, ...] = (
    Scene(
        "Lost answer",
        "DOGE/INJ",
        '{"kind": "lost_answer", "seconds": 10}',
        True,
        "Both orders were worked, but nobody says so. The trade is accepted and its orders are in doubt: nothing more "
        "is sent. The desk asks until it knows, and only then is the trade filled. Nothing is ever sent twice.",
    ),
    Scene(
        "One leg refused",
        "LINK/ATOM",
        '{"kind": "leg_refused", "coin": "ATOM", "seconds": 20}',
        True,
        "One leg fills, the other is refused. The desk tries to complete it three times within five seconds, each time "
        "further from the touch; then it trims what it has back to level, and the trade ends with nothing held.",
        opens=False,
    ),
    Scene(
        "Partial fills",
        "ARB/OP",
        '{"kind": "partial_fills", "coin": "OP", "share": 0.5, "seconds": 20}',
        True,
        "One leg fills by half each time. The desk completes the lagging leg order by order until the legs are level.",
    ),
    Scene(
        "Crash of a coin",
        "LTC/BCH",
        '{"kind": "crash", "coin": "LTC", "share": 0.1, "seconds": 30}',
        False,
        "The price of one leg falls by a tenth at once. The first reading is a jump and is not believed before a "
        "second one or the venue's mark confirms it; then the stop loss closes both legs. (Were it the short leg that "
        "falls, the take profit would.)",
    ),
    Scene(
        "Halted coin",
        "XRP/BNB",
        '{"kind": "halted_coin", "coin": "BNB", "seconds": 12}',
        False,
        "No order in the coin is taken. New trades in it are refused; the close that somebody asks for takes the other "
        "leg off and goes on trying, with an alert, until the coin trades again.",
        40,
        closes=True,
    ),
    Scene(
        "Stale prices",
        "DYDX/GMX",
        '{"kind": "stale_prices", "seconds": 70}',
        False,
        "Prices stand still. After five seconds they are too old to leave by, and no stop is fired by them; after a "
        "minute the desk stops opening (BLIND), and goes on by itself when prices are back.",
        80,
    ),
    Scene(
        "Dead stream",
        "SUI/APT",
        '{"kind": "dead_stream", "seconds": 70}',
        False,
        "There are no prices at all: the same as stale ones, from the first second on.",
        80,
    ),
    Scene(
        "Liquidation",
        "APE/FTM",
        '{"kind": "liquidation", "coin": "FTM"}',
        False,
        "The venue takes one leg. The fill explains what is missing: the desk books the loss and closes the sister at "
        "once.",
    ),
)

INDEX = """# Watching faults in the demo

On the paper venue faults can be staged while the service runs, for web process and monitor alike; they end by
themselves. This is for the demo alone: every other desk answers 404.

```sh
curl --fail -s -X POST http://127.0.0.1:8004/api/demo/scenario -H 'Content-Type: application/json' \\
  -d '{"kind": "crash", "coin": "AVAX", "share": 0.1, "seconds": 30}'
curl --fail -s http://127.0.0.1:8004/api/demo/scenario
curl --fail -s -X DELETE http://127.0.0.1:8004/api/demo/scenario
```

| field | default | |
|---|---|---|
| `kind` | - | one of those below |
| `coin` | all | needed for `leg_refused`, `crash`, `halted_coin` and `liquidation` |
| `share` | 0.5 | how much of an order is filled, or how far a price falls |
| `seconds` | 30 | how long it lasts, up to 600 |

Each has a page: how to stage it, what the desk does, and the activity log that it made (`data/agent_logs.json`,
`GET /api/agent/logs`). Every trade is of 1,000 USD with a stop loss of 4 %.

| | `kind` |
|---|---|
{rows}

A test plays them again and compares; `.venv/bin/python -m tests.scenarios` writes these pages.
"""

PAGE = """# {title}

{says}

Watch it, with `make run` in another terminal:

```sh
{commands}
```

The log, with the seconds from the beginning in front:

```text
{log}
```

{ended}

[All faults](../scenarios.md)
"""

STAGE = """curl --fail -s -X POST http://127.0.0.1:8004/api/demo/scenario -H 'Content-Type: application/json' \\
  -d '{body}'"""
EXECUTE = """curl {fail}-s -X POST http://127.0.0.1:8004/api/trades/execute -H 'Content-Type: application/json' \\
  -d '{body}' > position.json"""
KNOW = 'POSITION=$(python3 -c \'import json; print(json.load(open("position.json"))["position_id"])\')'
CLOSE = "curl --fail -s -X POST http://127.0.0.1:8004/api/positions/$POSITION/close"
LOOK = 'curl --fail -s "http://127.0.0.1:8004/api/agent/logs?limit=20"'
END = "curl --fail -s -X DELETE http://127.0.0.1:8004/api/demo/scenario"


@dataclass
class Played:
    """One scene, played: the lines of the log, and how the trade stood in the end."""

    lines: list[str] = field(default_factory=list)
    ended: str = ""


def play(scene: Scene) -> Played:
    """Open a trade, stage the scene, and let web process and monitor, two desks on one folder, go on for a while."""
    # Imported here: they want Django's settings, which a program makes first.
    from django.test import Client

    from trading import bootstrap

    with tempfile.TemporaryDirectory() as folder:
        clock = FakeClock()
        settings = {
            "data_dir": Path(folder) / "data",
            "redis_url": "redis://127.0.0.1:1/3",
            "throttle_read_per_minute": 0,
        }

        def a_desk() -> Desk:
            return replace(bootstrap.build_desk(Config.of(**settings), clock=clock), begin=at_once)

        web, watchman = a_desk(), Watchman(a_desk())
        client = Client(HTTP_HOST="localhost")

        def post(path: str, body: str = "") -> None:
            with bootstrap.use_desk(web):
                client.post(path, body, content_type="application/json")

        def tick(seconds: int) -> None:
            for _ in range(seconds):
                clock.advance(1)
                monitor.tick(watchman)

        stage, trade = ("/api/demo/scenario", scene.body), ("/api/trades/execute", json.dumps(scene.trade))
        tick(1)
        for path, body in (stage, trade) if scene.before else (trade, stage):
            post(path, body)
        if scene.closes:
            (position,) = web.store.book().positions()
            post(f"/api/positions/{position.id}/close")
        tick(scene.watch_seconds)
        (position,) = web.store.book().positions()
        held = ", ".join(f"{leg.held} {leg.coin}" for leg in position.legs if leg.held) or "nothing"
        reason = f" ({position.exit_reason})" if position.exit_reason else ""
        ended = f"The position is {position.status}{reason}; held: {held}. The desk is {web.store.state().state}."
        return Played(list(_lines(web.log.tail(1000), NOON)), ended)


def _lines(entries: Sequence[Mapping[str, object]], began: datetime) -> Iterator[str]:
    """Oldest first."""
    for entry in reversed(entries):
        seconds = (datetime.fromisoformat(str(entry["timestamp"])) - began) / timedelta(seconds=1)
        yield f"{seconds:7.2f} {entry['type']:7} {entry['message']}"


class _Done:
    """An errand that is over."""

    def join(self, timeout: float | None = None) -> None: ...

    def is_alive(self) -> bool:
        return False


def at_once(name: str, job: Callable[[], None]) -> _Done:
    """Hands that do a job before anything else goes on, so that lines come in one order."""
    job()
    return _Done()


def pages() -> Mapping[str, str]:
    """Every page by its name under docs/, from scenes played now."""
    rows = "\n".join(f"| [{one.title}]({_path_of(one)}) | `{one.kind}` |" for one in SCENES)
    return {"scenarios.md": INDEX.replace("{rows}", rows), **{_path_of(one): _page(one) for one in SCENES}}


def _path_of(scene: Scene) -> str:
    return f"scenarios/{scene.kind.replace('_', '-')}.md"


def _page(scene: Scene) -> str:
    played = play(scene)
    log = "\n".join(line.rstrip() for line in played.lines)
    commands = "\n".join(_commands(scene))
    return PAGE.format(title=scene.title, says=scene.says, commands=commands, log=log, ended=played.ended)


def _commands(scene: Scene) -> Iterator[str]:
    """What a person types: the same that was played, and then everything is put back."""
    stage = STAGE.format(body=scene.body)
    trade = EXECUTE.format(body=json.dumps(scene.trade), fail="--fail " if scene.opens else "")
    yield from (stage, trade) if scene.before else (trade, stage)
    if scene.opens:
        yield KNOW
    if scene.closes:
        yield CLOSE
    yield from ("sleep 3", LOOK, END)
    if scene.opens:
        yield CLOSE


def main(check: bool) -> int:
    """Write the pages, or compare them: 1 when one differs, with its name."""
    status = 0
    for name, text in pages().items():
        path = DOCS / name
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            print(f"docs/{name} is not what the desk does: .venv/bin/python -m tests.scenarios writes it anew")
            status = 1
    return status


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "executor_agent.settings")
    django.setup()
    # The pages have what is said; here only what differs is of interest.
    logging.disable(logging.CRITICAL)
    sys.exit(main("--check" in sys.argv[1:]))
