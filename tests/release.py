"""What of a release can be read off the checkout: one version everywhere, a changelog that has it, nothing uncommitted.

`python -m tests.release`; `make release-check` runs it with everything else that a release needs.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

from executor_agent import __version__
from trading.conf import PROJECT_ROOT

GIT = shutil.which("git") or "/usr/bin/git"
VERSION = re.compile(r"\d+\.\d+\.\d+")


def problems() -> Iterator[str]:
    """What keeps this checkout from being released, each with what to do."""
    if not VERSION.fullmatch(__version__):
        yield f"executor_agent.__version__ is {__version__}: write MAJOR.MINOR.PATCH"
    changelog = (PROJECT_ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## \[{re.escape(__version__)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        yield f"CHANGELOG.md has no heading '## [{__version__}] - DATE': give what is Unreleased its version"
    if re.search(r"^## \[Unreleased\]\n+(?!## )\S", changelog, re.MULTILINE):
        yield "CHANGELOG.md has entries under Unreleased: move them under the version"
    schema = (PROJECT_ROOT / "schema.yml").read_text(encoding="utf-8")
    if f"\n  version: {__version__}\n" not in schema:
        yield "schema.yml has another version: make schema"
    changed = _git("status", "--porcelain")
    if changed:
        yield f"not everything is committed: {changed.splitlines()[0].strip()}"
    if __version__ in (tag.removeprefix("v") for tag in _git("tag").split()):
        yield f"the tag v{__version__} is there already: raise executor_agent.__version__"


def _git(*words: str) -> str:
    found = subprocess.run((GIT, *words), cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=30, check=False)
    return found.stdout


def main() -> int:
    """Print every problem; 1 when there is one."""
    found = list(problems())
    for one in found:
        print(one)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
