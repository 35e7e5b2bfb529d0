"""What every signed action needs: a nonce nobody else used, and a register of the orders that were sent under it.

The law: nonces of one signer rise strictly over all threads and processes of the machine (`max(now, last + 1)`), and a
client order id is claimed once, before its order is signed. The register outlives the process, so that after a restart
an order's nonce is still known and can be used up by a `noop`, which proves that the order never landed. Neither file
is the truth about anything: without them a nonce is still the present millisecond, and expiry proves absence.
"""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from trading.adapters.hyperliquid_wire import milliseconds
from trading.adapters.keys import Wallet
from trading.domain.errors import Busy
from trading.domain.units import ClientOrderId
from trading.ports import Clock
from trading.utils.locks import FILE_MODE, OpenLock, make_directory

LOCK_SECONDS_MAX = 2.0
LOCK_POLL_SECONDS = 0.0002
REGISTER_BYTES_MAX = 1 << 19
NONCE_DIGITS = 20


@dataclass(frozen=True, slots=True)
class Claim:
    """A fresh nonce, and which of the client order ids claimed had been sent before: then none was claimed."""

    nonce: int
    known: frozenset[ClientOrderId]


class NonceRegister:
    """The nonces of the signer *address*, in *folder*, which all processes of the machine that sign for it share.

    Raises Busy when the lock cannot be had, and OSError when the files cannot be used: nothing was claimed then.
    Constructing it raises StoreCorrupt when *folder* cannot be made.
    """

    def __init__(self, folder: Path, address: str, clock: Clock) -> None:
        make_directory(folder)
        self._nonce_path = folder / f"{address}.nonce"
        self._sent_path = folder / f"{address}.sent"
        self._file_lock = OpenLock(folder / f"{address}.lock")
        self._threads = threading.Lock()
        self._clock = clock
        self._sent: dict[str, int] = {}
        self._read_to: tuple[int, int] = (0, 0)

    def next_nonce(self) -> int:
        """Milliseconds since 1970, or one more than the last nonce if that is later."""
        with self._held():
            return self._next()

    def claim(self, cloids: Sequence[ClientOrderId]) -> Claim:
        """A nonce for *cloids*, registered as sent from now on; nothing is registered when one of them was sent
        before."""
        with self._held():
            self._follow()
            known = frozenset(one for one in cloids if one in self._sent)
            nonce = self._next()
            if not known:
                self._register(cloids, nonce)
            return Claim(nonce, known)

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
        with _opened(self._nonce_path, os.O_RDWR) as file:
            last = os.read(file, NONCE_DIGITS)
            nonce = max(milliseconds(self._clock.now()), (int(last) if last.isdigit() else 0) + 1)
            os.lseek(file, 0, os.SEEK_SET)
            os.write(file, f"{nonce:0{NONCE_DIGITS}}".encode())
            return nonce

    def _register(self, cloids: Sequence[ClientOrderId], nonce: int) -> None:
        if self._read_to[1] > REGISTER_BYTES_MAX:
            self._sent_path.replace(self._sent_path.with_suffix(".sent.1"))
        # A leading line break parts the record from a torn one before it.
        record = "".join(f"\n{cloid} {nonce}\n" for cloid in cloids).encode()
        with _opened(self._sent_path, os.O_WRONLY | os.O_APPEND) as file:
            os.write(file, record)

    def _follow(self) -> None:
        """Take in what any process has registered since the last look."""
        with _opened(self._sent_path, os.O_RDONLY) as file:
            stat = os.fstat(file)
            inode, start = self._read_to
            if inode != stat.st_ino or start > stat.st_size:
                self._sent, start = dict(_entries(_older(self._sent_path))), 0
            os.lseek(file, start, os.SEEK_SET)
            content = os.read(file, stat.st_size - start)
        self._sent.update(_entries(content))
        self._read_to = (stat.st_ino, start + len(content))


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


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    file = os.open(path, flags | os.O_CREAT, FILE_MODE)
    try:
        yield file
    finally:
        os.close(file)


def _older(path: Path) -> bytes:
    try:
        return path.with_suffix(".sent.1").read_bytes()
    except FileNotFoundError:
        return b""


def _entries(content: bytes) -> Iterator[tuple[str, int]]:
    for line in content.decode("ascii", "replace").splitlines():
        cloid, _, nonce = line.partition(" ")
        if cloid and nonce.isascii() and nonce.isdigit():
            yield cloid, int(nonce)
