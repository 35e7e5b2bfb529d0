"""What the service stands on: `python -m tests.dependencies` says what is wrong with it, `--write` lists the licences.

The law: every pin is in the lock, every file in the lock has its hash, every import is pinned by name, every licence is
one that the service may be given away under. Asks no network.
"""

import ast
import functools
import importlib
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS: Mapping[str, str] = {"requirements.txt": "requirements.lock", "requirements-dev.txt": "requirements-dev.lock"}
LICENCES = Path("docs") / "licences.md"
OURS = ("trading", "executor_agent")
SOURCES = ("manage.py", *OURS)

# What may be given away with an MIT service without further ado. MPL-2.0 is for files that are used as they are.
ALLOWED = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CNRI-Python",
        "ISC",
        "MIT",
        "MPL-2.0",
        "PSF-2.0",
        "Public Domain",
        "Unlicense",
    }
)
# As packages write them that have no SPDX expression yet.
SPELT: Mapping[str, str] = {
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD 3-Clause": "BSD-3-Clause",
    "BSD License": "BSD",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
# A module of pydantic's own engine, which pydantic pins to the digit.
BROUGHT_ALONG: Mapping[str, str] = {"pydantic-core": "pydantic"}
HEAD = """# Licences

What `pip install -r requirements.txt` brings along, and under which licence each part is. Written by `make lock`; `make
check` fails when it is not true, or when `tests/dependencies.py` does not allow a licence. The service itself is under
the MIT licence (`LICENSE`).

| package | licence |
|---|---|
"""
_PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(\[[a-z,]+\])?==(?P<version>[^;\s\\]+)")


@dataclass(frozen=True, slots=True)
class Locked:
    """One entry of a lock: its version, and how many files of it are known by their SHA-256."""

    version: str
    hashes: int


def problems(root: Path = ROOT) -> list[str]:
    """One line each, with the remedy; empty when all is well."""
    return [*_of_locks(root), *_of_imports(root), *_of_licences(root)]


def pins_in(path: Path) -> dict[str, str]:
    """The versions that a requirements file pins, by normalised name."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return {_normal(match["name"]): match["version"] for line in lines if (match := _PIN.match(line))}


def lock_in(path: Path) -> dict[str, Locked]:
    """The entries of a lock; of one with a version for each platform, the last."""
    entries = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    found = {}
    for entry in entries:
        if match := _PIN.match(entry):
            found[_normal(match["name"])] = Locked(match["version"], entry.count("--hash=sha256:"))
    return found


def licence_of(package: Distribution) -> str:
    """Its licence in SPDX's words where it can be told; "unknown" otherwise."""
    metadata = package.metadata
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    classified = [one.rpartition(" :: ")[2] for one in metadata.get_all("Classifier") or () if one.startswith("Lic")]
    named = metadata["License"].strip() if "License" in metadata else ""
    words = [named] if named and "\n" not in named and len(named) < 40 else classified
    return " AND ".join(SPELT.get(one, one) for one in sorted(words)) or "unknown"


def is_allowed(licence: str) -> bool:
    """Whether every part of an expression is allowed; of alternatives, one is enough."""
    parts = (part.strip(" ()") for part in re.split(r"\bAND\b|,", licence))
    return all(any(SPELT.get(one.strip(), one.strip()) in ALLOWED for one in part.split(" OR ")) for part in parts)


def licences(root: Path = ROOT) -> dict[str, str]:
    """The licence of each package of the runtime lock that this platform takes."""
    found = {}
    for name in sorted(lock_in(root / LOCKS["requirements.txt"])):
        try:
            found[name] = licence_of(distribution(name))
        except PackageNotFoundError:
            continue  # Of another platform, or of another Python.
    return found


def listing(root: Path = ROOT) -> str:
    """The page of licences as it should be."""
    rows = "".join(f"| {name} | {licence} |\n" for name, licence in licences(root).items())
    return HEAD + rows


def imported_in(root: Path) -> set[str]:
    """The top-level names that our own code imports, but Python's and ours."""
    files = [
        file for source in SOURCES for file in ((root / source).rglob("*.py") if source in OURS else (root / source,))
    ]
    names = {name for file in files for name in _imports(ast.parse(file.read_text(encoding="utf-8")))}
    return names - sys.stdlib_module_names - set(OURS)


def modules_of(pins: Mapping[str, str]) -> list[str]:
    """The modules that the pinned packages of this platform bring."""
    brought = _brought().items()
    return sorted(
        module for module, names in brought if not module.startswith("_") and pins.keys() & set(map(_normal, names))
    )


def _of_locks(root: Path) -> Iterator[str]:
    for requirements, lock in LOCKS.items():
        locked = lock_in(root / lock)
        for name, version in pins_in(root / requirements).items():
            if name not in locked or locked[name].version != version:
                yield f"{lock}: {name}=={version} of {requirements} is not in it; run `make lock`"
        yield from (f"{lock}: {name} has no hash; run `make lock`" for name, one in locked.items() if not one.hashes)


def _of_imports(root: Path) -> Iterator[str]:
    pins = pins_in(root / "requirements.txt")
    brought = _brought()
    for name in sorted(imported_in(root)):
        packages = {_normal(one) for one in brought.get(name, ())}
        if not pins.keys() & {BROUGHT_ALONG.get(one, one) for one in packages}:
            yield f"requirements.txt: {name} is imported, but {', '.join(packages) or 'what brings it'} is not pinned"


def _of_licences(root: Path) -> Iterator[str]:
    for name, licence in licences(root).items():
        if not is_allowed(licence):
            yield f"{name}: its licence is {licence}, which is none of those allowed"
    listed = (root / LICENCES).read_text(encoding="utf-8").splitlines()
    missing = [line for line in listing(root).splitlines() if line not in listed]
    if missing:
        yield f"{LICENCES}: does not say {missing[0]!r}; run `make lock`"


@functools.cache
def _brought() -> Mapping[str, list[str]]:
    """The packages behind each importable name, of this environment."""
    return packages_distributions()


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(arguments: list[str]) -> int:
    if arguments == ["--write"]:
        (ROOT / LICENCES).write_text(listing(), encoding="utf-8")
        return 0
    found = problems()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for module in modules_of(pins_in(ROOT / "requirements.txt")):
            try:
                importlib.import_module(module)
            except Exception as error:  # whatever importing it raises is what is asked
                found.append(f"{module}: cannot be imported without a complaint: {error!r}")
    sys.stderr.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
