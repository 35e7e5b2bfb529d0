"""Everything that a release needs, part by part: `make release-check`.

The law: a part that could not be checked here has not passed. It is named at the end with what it lacks, and the whole
fails unless whoever releases has named it, too: `make release-check UNCHECKED="image audit"`.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from executor_agent import __version__
from trading.conf import PROJECT_ROOT

GIT = shutil.which("git") or "/usr/bin/git"
VERSION = re.compile(r"\d+\.\d+\.\d+")
AUDIT = (
    *(".net/bin/pip-audit", "--strict", "--require-hashes", "--disable-pip", "--progress-spinner", "off"),
    *("--format", "json", "--requirement", "requirements.lock"),
)
IMAGE = "executor-agent:release-check"
_SKIPPED = re.compile(r"skipped '(?P<why>[^']+)'")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one part went: `passed`, `failed` or `unchecked`, and the words to it."""

    verdict: str
    words: str = ""


def problems() -> Iterator[str]:
    """What of this checkout itself keeps it from being released, each with what to do."""
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
    changed = _said(GIT, "status", "--porcelain").stdout
    if changed:
        yield f"not everything is committed: {changed.splitlines()[0].strip()}"
    if __version__ in (tag.removeprefix("v") for tag in _said(GIT, "tag").stdout.split()):
        yield f"the tag v{__version__} is there already: raise executor_agent.__version__"


def checkout() -> Outcome:
    """One version everywhere, a changelog that has it, nothing uncommitted."""
    found = list(problems())
    return Outcome("failed" if found else "passed", "; ".join(found))


def made(target: str) -> Outcome:
    """A target of the Makefile, which says for itself what it does."""
    status = subprocess.run(("make", target), cwd=PROJECT_ROOT, check=False).returncode  # noqa: S607 - of the PATH
    return Outcome("passed") if status == 0 else Outcome("failed", f"make {target} ended with {status}")


def deploy() -> Outcome:
    """The files of deploy/ by their own checkers; one that is missing leaves its file unchecked."""
    found = _said("make", "deploy-check")
    print(found.stdout + found.stderr, flush=True)
    if found.returncode:
        return Outcome("failed", f"make deploy-check ended with {found.returncode}")
    missing = sorted({one["why"] for one in _SKIPPED.finditer(found.stdout + found.stderr)})
    return Outcome("unchecked", "; ".join(missing)) if missing else Outcome("passed")


def image() -> Outcome:
    """The container image is built, and what is in it can start."""
    docker = shutil.which("docker")
    if docker is None or _said(docker, "info").returncode:
        return Outcome("unchecked", "no container engine answers here: the image was linted, never built nor run")
    for words in (
        ("build", "--file", "deploy/docker/Dockerfile", "--tag", IMAGE, "."),
        ("run", "--rm", IMAGE, "python", "manage.py", "check"),
    ):
        if status := subprocess.run((docker, *words), cwd=PROJECT_ROOT, check=False).returncode:
            return Outcome("failed", f"docker {words[0]} ended with {status}")
    return Outcome("passed")


def audit() -> Outcome:
    """Known vulnerabilities of what is locked. A list that gives no answer is not an empty list."""
    if _said("make", ".net/.ready").returncode:
        return Outcome("unchecked", "pip-audit cannot be installed here")
    found = _said(*AUDIT)
    try:
        listed = json.loads(found.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        said = (found.stderr.strip() or "nothing was said").splitlines()[-1]
        return Outcome("unchecked", f"the list of vulnerabilities gave no answer: {said[:200]}")
    bad = [f"{one['name']} {one['version']}" for one in listed if one.get("vulns")]
    return Outcome("failed", f"known to be vulnerable: {', '.join(bad)}") if bad else Outcome("passed")


PARTS: Mapping[str, Callable[[], Outcome]] = {
    "checkout": checkout,
    "check": lambda: made("check"),
    "cover": lambda: made("cover"),
    "docs": lambda: made("docs-check"),
    "going-live": lambda: made("going-live"),
    "deploy": deploy,
    "image": image,
    "audit": audit,
}


def verdict(outcomes: Mapping[str, Outcome], taken_on: Sequence[str]) -> tuple[list[str], int]:
    """The lines of the summary, and 0 only when every part has passed or was taken on unchecked."""
    lines, status = [], 0
    for name, one in outcomes.items():
        words = one.words
        if one.verdict == "unchecked" and name in taken_on:
            words = f"{words} (taken on by whoever releases)"
        elif one.verdict != "passed":
            status = 1
        lines.append(f"{'NOT CHECKED' if one.verdict == 'unchecked' else one.verdict:12} {name:11} {words}".rstrip())
    return lines, status


def _said(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)


def main(taken_on: Sequence[str]) -> int:
    """Check every part, print how each went, and give 1 when the release must wait."""
    unknown = [name for name in taken_on if name not in PARTS]
    if unknown:
        print(f"there is no part {', '.join(unknown)}: the parts are {', '.join(PARTS)}")
        return 2
    outcomes = {}
    for name, check in PARTS.items():
        print(f"== {name}", flush=True)
        outcomes[name] = check()
    lines, status = verdict(outcomes, taken_on)
    print("", f"release {__version__}:", *lines, sep="\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
