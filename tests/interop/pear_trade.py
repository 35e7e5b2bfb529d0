"""Pear's official TypeScript SDK trades on the Pear simulator, which stands on the exchange simulator.

    python tests/interop/pear_trade.py .venv/bin/python .interop/pear

The arguments are the Python that runs the simulators (ours) and the folder with the SDK's packages. Exits with 1 and
the step at which the two disagreed.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The public test keys of the simulators (tests/servers/hyperliquid): worthless anywhere else.
MASTER_KEY = "0x" + "11" * 32
MASTER = "0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a"


@contextmanager
def simulator(python: str, *words: str) -> Iterator[str]:
    """The URL of a simulator in a process of its own."""
    command = (python, "-m", *words, "--port", "0")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            if found is None:
                raise SystemExit("a simulator ended before it was ready")
            yield found.group()
        finally:
            process.terminate()


def main() -> int:
    python, packages = sys.argv[1], Path(sys.argv[2]).resolve()
    node = shutil.which("node") or "node"
    script = ROOT / "tests" / "interop" / "pear" / "trade.mjs"
    with (
        simulator(python, "tests.servers.hyperliquid", "--still") as exchange,
        simulator(python, "tests.servers.pear", "--exchange", exchange) as pear,
    ):
        return subprocess.call((node, str(script), pear, MASTER, MASTER_KEY), cwd=packages)


if __name__ == "__main__":
    sys.exit(main())
