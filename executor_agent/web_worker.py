"""gunicorn's worker with threads, but that what it cannot read is answered like everything else that is wrong."""

from contextlib import suppress
from typing import Any

from gunicorn import util
from gunicorn.http.errors import (
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
)
from gunicorn.workers.gthread import ThreadWorker


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Called for what never reaches the application, or escapes it; gunicorn itself would send a page of HTML."""
        ours = isinstance(exc, InvalidResponseHeader | InvalidResponseHeaderName)
        if ours or not isinstance(exc, ParseException):
            super().handle_error(req, client, addr, exc)
            return
        self.log.warning("Invalid request from ip=%s: %s", addr[0] if addr else "", exc)
        with suppress(OSError):  # who sent it may be gone
            util.write_nonblock(client, answer_to(exc))


def answer_to(error: ParseException) -> bytes:
    """The whole answer, status line and headers included: an INVALID_REQUEST that quotes nothing of what was sent."""
    # Imported here: gunicorn's master loads this module, and the application only its workers.
    from trading.middleware import HEADERS
    from trading.problems import invalid, response_of

    match error:
        case LimitRequestLine():
            problem = invalid(path="is too long")
        case LimitRequestHeaders():
            problem = invalid(headers="are too many or too long")
        case _:
            problem = invalid(request="is no HTTP that can be read")
    response = response_of(problem)
    head = {**HEADERS, **dict(response.items()), "Content-Length": str(len(response.content)), "Connection": "close"}
    lines = (f"HTTP/1.1 {response.status_code} {response.reason_phrase}", *(f"{name}: {head[name]}" for name in head))
    return "\r\n".join((*lines, "", "")).encode("latin-1") + response.content
