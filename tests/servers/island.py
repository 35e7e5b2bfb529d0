"""A data directory on a file system of its own, small enough to be filled and free to be made read-only.

The law: nothing outside is touched. The mount lives in a namespace that ends with its holder; where the system lets
nobody make one, `Island.found` says so and the tests that need it are skipped with a word.
"""

import os
import subprocess
from pathlib import Path
from typing import Self

from tests.processes import wait_until
from trading.conf import PROJECT_ROOT

SIZE = "16m"
BLOCK = b"\0" * (1 << 16)
MADE = "made"


class Island:
    """A tmpfs mounted on *place*, seen only by what is started with `prefix`. A context manager."""

    def __init__(self, place: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self._place = place
        mount = f"mount -t tmpfs -o size={SIZE},mode=700 none {place} && echo {MADE} && exec sleep infinity"
        self._holder = subprocess.Popen(
            ("/usr/bin/env", "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline().strip() != MADE:
            self.__exit__()
            raise OSError("this system lets nobody make a file system of its own")

    @classmethod
    def found(cls, place: Path) -> "Island | None":
        """One on *place*, or None where there can be none."""
        try:
            return cls(place)
        except OSError:
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()

    @property
    def prefix(self) -> tuple[str, ...]:
        """What a command begins with that is to see it."""
        where = ("--target", str(self._holder.pid), "--user", "--mount", f"--wd={PROJECT_ROOT}")
        return ("/usr/bin/env", "nsenter", *where, "--preserve-credentials", "--")

    @property
    def inside(self) -> Path:
        """The same place, as it is seen from outside."""
        return Path(f"/proc/{self._holder.pid}/root{self._place}")

    def fill(self) -> None:
        """Not a byte is free any more."""
        with (self.inside / "filler").open("ab", buffering=0) as file:
            size = len(BLOCK)
            while size:
                try:
                    file.write(BLOCK[:size])
                except OSError:
                    size //= 2
            os.fsync(file.fileno())

    def empty(self) -> None:
        (self.inside / "filler").unlink(missing_ok=True)

    def make_read_only(self, read_only: bool) -> None:
        """Every write fails from now on, or no more.

        The system refuses while somebody has a file open for writing: what was killed, or has just lost its supervisor,
        is given the time to let go.
        """
        how = "remount,ro" if read_only else "remount,rw"
        command = (*self.prefix, "mount", "-o", how, str(self._place))
        wait_until(lambda: subprocess.run(command, check=False).returncode == 0, how)
