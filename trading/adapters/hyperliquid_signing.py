"""What every signed action needs: a nonce nobody else used, and a register of the orders that were sent under it.

The law: nonces of one signer rise strictly over all threads and processes of the machine (`max(now, last + 1)`), and a
client order id is claimed once, before its order is signed. The register outlives the process, so that after a restart
an order's nonce is still known and can be used up by a `noop`, which proves that the order never landed. Neither file
is the truth about anything: without them a nonce is still the present millisecond, and expiry proves absence.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from filelock import Timeout

from trading.adapters.followed_file import FollowedFile, opened
from trading.adapters.hyperliquid_values import milliseconds
from trading.adapters.keys import Wallet
from trading.domain.errors import Busy
from trading.domain.units import ClientOrderId
from trading.ports import Clock
from trading.utils.locks import OpenLock
from trading.utils.owner import make_directory

LOCK_SECONDS_MAX = 2.0
LOCK_POLL_SECONDS = 0.0002
REGISTER_BYTES_MAX = 1 << 17
"""The last 2,600 orders at least, 650 trades; twice as many at most, all of which each process has in memory."""
NONCE_DIGITS = 20
# The venue takes a nonce up to a day ahead of its own clock (documentation, "Nonces and API wallets").
NONCE_AHEAD_MAX_MS = 23 * 3_600_000


@dataclass(frozen=True, slots=True)
class Claim:
    """A fresh nonce, and which of the client order ids claimed had been sent before: then none was claimed."""

    nonce: int
    known: frozenset[ClientOrderId]


class NonceRegister:
    """The nonces of the signer *address*, in *folder*, which all processes of the machine that sign for it share.

    *correction* is what makes an instant of ours one of the venue's; None while that is not known. Where it is, the
    last nonce is passed over when the venue would take none after it: it was made by a clock that was wrong by a day.

    Raises Busy when the lock cannot be had, and OSError when the files cannot be used: nothing was claimed then.
    Constructing it raises StoreCorrupt when *folder* cannot be made.
    """

    def __init__(
        self, folder: Path, address: str, clock: Clock, correction: Callable[[], timedelta | None] = lambda: None
    ) -> None:
        make_directory(folder)
        self._nonce_path = folder / f"{address}.nonce"
        self._file = FollowedFile(folder / f"{address}.sent", bytes_max=REGISTER_BYTES_MAX)
        self._file_lock = OpenLock(folder / f"{address}.lock")
        self._threads = threading.Lock()
        self._clock = clock
        self._correction = correction
        self._sent: dict[str, int] = {}
        self._expiries: dict[str, int] = {}
        self._spare = 0

    def next_nonce(self) -> int:
        """Milliseconds since 1970 by the venue's clock, or one more than the last nonce if that is later."""
        with self._held():
            return self._next()

    def claim(self, cloids: Sequence[ClientOrderId], expires_after: int | None = None) -> Claim:
        """A nonce for *cloids*, registered as sent from now on; nothing is registered when one of them was sent before.

        *expires_after*, in milliseconds, is for orders that expire at another instant than their own.
        """
        with self._held():
            self._follow()
            known = frozenset(one for one in cloids if one in self._sent)
            nonce = self._next()
            if not known:
                self._register(cloids, nonce, expires_after)
            return Claim(nonce, known)

    def claim_unwritten(self, cloids: Sequence[ClientOrderId], expires_after: int | None = None) -> Claim:
        """A claim that only this process remembers, for what must go out although the files cannot be used.

        Another process may have the same nonce at the same millisecond: the venue takes one of the two.
        """
        with self._threads:
            known = frozenset(one for one in cloids if one in self._sent)
            self._spare = self._after(self._spare)
            if not known:
                self._take_in((cloid, self._spare, expires_after) for cloid in cloids)
            return Claim(self._spare, known)

    def known(self, cloids: Sequence[ClientOrderId]) -> frozenset[ClientOrderId]:
        """Those of *cloids* that were sent, as far as the register remembers."""
        with self._held():
            self._follow()
            return frozenset(one for one in cloids if one in self._sent)

    def nonce_of(self, cloid: ClientOrderId) -> int | None:
        """The nonce under which *cloid* was sent, as far as the register remembers."""
        with self._held():
            self._follow()
            return self._sent.get(cloid)

    def expiry_of(self, cloid: ClientOrderId) -> int | None:
        """When *cloid* expires by the venue's clock, in milliseconds, if that is another instant than its own."""
        with self._held():
            self._follow()
            return self._expiries.get(cloid)

    @contextmanager
    def _held(self) -> Iterator[None]:
        with self._threads:
            try:
                self._file_lock.acquire(timeout=LOCK_SECONDS_MAX, poll_interval=LOCK_POLL_SECONDS)
            except Timeout as error:
                raise Busy("the nonces are held by another process", lock=str(self._nonce_path)) from error
            try:
                yield
            finally:
                self._file_lock.release()

    def _next(self) -> int:
        with opened(self._nonce_path, os.O_RDWR) as file:
            last = os.read(file, NONCE_DIGITS)
            nonce = self._after(int(last) if last.isdigit() else 0)
            os.lseek(file, 0, os.SEEK_SET)
            os.write(file, f"{nonce:0{NONCE_DIGITS}}".encode())
            return nonce

    def _after(self, last: int) -> int:
        correction = self._correction()
        now = milliseconds(self._clock.now() + (correction or timedelta(0)))
        if correction is not None and last > now + NONCE_AHEAD_MAX_MS:
            return now
        return max(now, last + 1)

    def _register(self, cloids: Sequence[ClientOrderId], nonce: int, expires_after: int | None) -> None:
        expiry = "" if expires_after is None else f" {expires_after}"
        self._file.append([f"{cloid} {nonce}{expiry}" for cloid in cloids], synced=False)

    def _follow(self) -> None:
        """Take in what any process has registered since the last look."""
        lines, anew = self._file.news()
        if anew:
            self._sent, self._expiries = {}, {}
        self._take_in(_entries(lines))

    def _take_in(self, entries: Iterable[tuple[str, int, int | None]]) -> None:
        for cloid, nonce, expires_after in entries:
            self._sent[cloid] = nonce
            if expires_after is not None:
                self._expiries[cloid] = expires_after


class Signer:
    """Signed requests of one wallet on one network."""

    def __init__(self, wallet: Wallet, register: NonceRegister, *, mainnet: bool) -> None:
        self._wallet = wallet
        self._mainnet = mainnet
        self.register = register

    @property
    def address(self) -> str:
        return self._wallet.address

    def request(self, action: Mapping[str, object], nonce: int, expires_after: int | None = None) -> dict[str, object]:
        """The body of `POST /exchange` that carries *action*; times in milliseconds."""
        return {
            "action": action,
            "nonce": nonce,
            "signature": self._wallet.signature(action, nonce, expires_after, mainnet=self._mainnet),
            "vaultAddress": None,
            "expiresAfter": expires_after,
        }


def _entries(lines: Iterable[str]) -> Iterator[tuple[str, int, int | None]]:
    for line in lines:
        cloid, *numbers = line.split(" ")
        if cloid and len(numbers) in (1, 2) and all(one.isascii() and one.isdigit() for one in numbers):
            nonce, *expiry = map(int, numbers)
            yield cloid, nonce, expiry[0] if expiry else None
