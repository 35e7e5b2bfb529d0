"""A peer over real sockets: every bound holds, whatever the other side does."""

import gc
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.fakes import FakeClock
from tests.processes import TRIES_MAX, free_port
from tests.servers.sibling import Reply, Sibling, says
from trading.adapters.http import Peer, plain_text
from trading.adapters.http_connections import ANSWER_BYTES_MAX, CONNECT_SECONDS_MAX, CONNECTIONS_KEPT, Deadline
from trading.adapters.system import SystemClock
from trading.domain.errors import InvalidRequest, ScoutUnavailable

TIMEOUT = 0.4
PATIENCE = 10.0
# What a loaded machine may add to a bound before a test calls it broken.
GRACE = 5.0


def given_peer(url: str, timeout_seconds: float = PATIENCE) -> Peer:
    return Peer("Scout", "SCOUT_URL", url, timeout_seconds, SystemClock(), ScoutUnavailable)


@contextmanager
def raw_server(answer: bytes) -> Iterator[str]:
    """A server that sends *answer* to whoever connects, letter by letter as it is, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@contextmanager
def addresses_of_localhost(count: int) -> Iterator[list[str]]:
    """The name has *count* addresses, the last one of which is its true one."""
    known, resolve = [f"127.0.0.{number}" for number in range(count, 0, -1)], socket.getaddrinfo

    def several(host: str, port: int, *more: Any, **named: Any) -> list[Any]:
        hosts = known if host == "localhost" else [host]
        return [row for one in hosts for row in resolve(one, port, *more, **named)]

    with patch.object(socket, "getaddrinfo", several):
        yield known


class ReadingTest(unittest.TestCase):
    def test_numbers_arrive_digit_for_digit(self) -> None:
        with Sibling(Reply(body=b'{"z": 2.400000000000000001, "n": 7}')) as server:
            self.assertEqual(given_peer(server.url).get("/x", {}), {"z": Decimal("2.400000000000000001"), "n": 7})

    def test_the_query_and_the_headers_say_what_is_wanted(self) -> None:
        with Sibling() as server:
            given_peer(server.url + "/base/").get("/x", {"limit": "100"})
            self.assertEqual(server.received[0].path, "/base/x?limit=100")
            self.assertEqual(server.received[0].headers["accept-encoding"], "identity")
            self.assertNotIn("content-type", server.received[0].headers)

    def test_one_connection_serves_many_calls(self) -> None:
        with Sibling(says([1, 2, 3])) as server:
            peer = given_peer(server.url)
            for _ in range(5):
                peer.get("/x", {})
            self.assertEqual(len({received.port for received in server.received}), 1)

    def test_sixteen_threads_may_share_a_peer(self) -> None:
        with Sibling(says({"ok": True})) as server:
            peer = given_peer(server.url)
            answers: list[object] = []

            def ask() -> None:
                answers.extend(peer.get("/x", {}) for _ in range(5))

            threads = [threading.Thread(target=ask) for _ in range(CONNECTIONS_KEPT)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(answers, [{"ok": True}] * 5 * CONNECTIONS_KEPT)
            self.assertLessEqual(len({received.port for received in server.received}), CONNECTIONS_KEPT)

    def test_a_read_is_repeated_after_a_passing_failure(self) -> None:
        for name, failure in {
            "500": Reply(500),
            "429": Reply(429),
            "broken off": Reply(breaks_off=True),
        }.items():
            with self.subTest(name), Sibling(failure, says([1])) as server:
                self.assertEqual(given_peer(server.url).get("/x", {}), [1])
                self.assertEqual(len(server.received), 2)

    def test_a_read_is_tried_three_times_and_no_more(self) -> None:
        with Sibling(Reply(503)) as server:
            with self.assertRaisesRegex(ScoutUnavailable, "status 503"):
                given_peer(server.url).get("/x", {})
            self.assertEqual(len(server.received), 3)

    def test_a_lasting_failure_is_not_repeated(self) -> None:
        for status in (400, 401, 404, 302):
            with self.subTest(status=status), Sibling(Reply(status)) as server:
                with self.assertRaises(ScoutUnavailable):
                    given_peer(server.url).get("/x", {})
                self.assertEqual(len(server.received), 1)

    def test_no_repeat_begins_that_could_not_end_in_time(self) -> None:
        with Sibling(Reply(503)) as server:
            # On a busy machine not even the first may arrive.
            for _ in range(TRIES_MAX):
                with self.assertRaises(ScoutUnavailable):
                    given_peer(server.url, 0.09).get("/x", {})
                if server.received:
                    break
            self.assertEqual(len(server.received), 1)

    def test_what_is_no_json_is_no_answer(self) -> None:
        bodies = {
            "text": b"Internal error",
            "empty": b"",
            "cut": b'{"a": 1',
            "NaN": b'[{"zscore": NaN}]',
            "infinity": b"[-Infinity]",
            "broken text": b'["\xff\xfe"]',
            "absurd exponent": b"[1e99999999999999999999]",
            "deep": b"[" * 200_000,
        }
        for name, body in bodies.items():
            unusable = self.assertRaisesRegex(ScoutUnavailable, "no JSON")
            with self.subTest(name), Sibling(Reply(body=body)) as server, unusable:
                given_peer(server.url).get("/x", {})

    def test_no_cookie_is_kept(self) -> None:
        with Sibling(Reply(headers={"Set-Cookie": "session=1; Path=/"})) as server:
            peer = given_peer(server.url)
            peer.get("/x", {})
            peer.get("/x", {})
            self.assertNotIn("cookie", server.received[1].headers)

    def test_the_environment_sets_no_proxy_and_no_password(self) -> None:
        with Sibling() as server, patch.dict(os.environ, {"HTTP_PROXY": "http://127.0.0.1:9", "NETRC": os.devnull}):
            given_peer(server.url).get("/x", {})
            self.assertNotIn("authorization", server.received[0].headers)


class BoundTest(unittest.TestCase):
    def assert_given_up_in_time(self, url: str, method: str = "GET") -> None:
        peer, began = given_peer(url, TIMEOUT), time.monotonic()
        with self.assertRaises(ScoutUnavailable) as caught:
            if method == "GET":
                peer.get("/x", {})
            else:
                peer.post("/x", {})
        self.assertLess(time.monotonic() - began, TIMEOUT + GRACE)
        self.assertEqual(caught.exception.code, "SCOUT_UNAVAILABLE")

    def test_a_peer_that_never_answers_is_given_up(self) -> None:
        for method in ("GET", "POST"):
            with self.subTest(method), Sibling(Reply(hangs=True)) as server:
                self.assert_given_up_in_time(server.url, method)
                self.assertEqual(len(server.received), 1)

    def test_a_body_in_drips_is_given_up(self) -> None:
        with Sibling(Reply(body=b"[" + b" " * 1000 + b"]", drip_seconds=0.05)) as server:
            self.assert_given_up_in_time(server.url)

    def test_headers_in_drips_are_given_up(self) -> None:
        with Sibling(Reply(headers={"X-Long": "x" * 1000}, drip_seconds=0.05, drips_headers=True)) as server:
            self.assert_given_up_in_time(server.url)

    def test_a_peer_that_only_accepts_is_given_up(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.assert_given_up_in_time(f"http://127.0.0.1:{listener.getsockname()[1]}")

    def test_a_dead_port_is_told_at_once(self) -> None:
        with self.assertRaisesRegex(ScoutUnavailable, "cannot be reached"):
            given_peer(f"http://127.0.0.1:{free_port()}").post("/x", {})

    def test_all_addresses_of_a_host_have_one_time_for_connecting(self) -> None:
        """Each had all of it: a call to a host of six that are silent took twelve seconds, whatever its time-out."""
        clock, tried = FakeClock(), list[str]()

        def silent(address: tuple[str, int], timeout: float, *_: object) -> socket.socket:
            tried.append(address[0])
            clock.advance(timeout)
            raise TimeoutError("timed out")

        peer, began = Peer("Scout", "SCOUT_URL", "http://localhost:9", 3.0, clock, ScoutUnavailable), clock.monotonic()
        unanswered = self.assertRaisesRegex(ScoutUnavailable, "in time")
        with addresses_of_localhost(4) as known, patch.object(socket, "create_connection", silent), unanswered:
            peer.post("/x", {})
        self.assertEqual(known, tried)
        self.assertAlmostEqual(CONNECT_SECONDS_MAX, clock.monotonic() - began)

    def test_behind_a_silent_address_the_next_one_has_time_to_answer(self) -> None:
        connect = socket.create_connection

        def first_silent(address: tuple[str, int], timeout: float, *more: Any) -> socket.socket:
            if address[0] != "127.0.0.1":
                raise TimeoutError("timed out")
            return connect(address, timeout, *more)

        connecting = patch.object(socket, "create_connection", first_silent)
        with Sibling(says([1])) as server, addresses_of_localhost(2), connecting:
            peer = given_peer(server.url.replace("127.0.0.1", "localhost"))
            self.assertEqual([1], peer.get("/x", {}))

    def test_a_name_that_nobody_has_is_unavailable(self) -> None:
        nobody = patch.object(socket, "getaddrinfo", side_effect=socket.gaierror("unknown"))
        with nobody, self.assertRaisesRegex(ScoutUnavailable, "cannot be reached"):
            given_peer("http://localhost:9").post("/x", {})

    def test_what_does_not_speak_http_is_unavailable(self) -> None:
        answers = {
            "another protocol": b"220 mail.example ESMTP\r\n",
            "nothing": b"",
            "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
            "bad chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
            "cut short": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
            "endless line": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
            "many headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n",
        }
        for name, answer in answers.items():
            with self.subTest(name), raw_server(answer) as url, self.assertRaises(ScoutUnavailable):
                given_peer(url).get("/x", {})

    def test_an_answer_without_a_length_is_read_to_its_end(self) -> None:
        with raw_server(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"a": 1}') as url:
            self.assertEqual(given_peer(url).get("/x", {}), {"a": 1})

    def test_an_answer_in_chunks_is_read_to_its_end(self) -> None:
        with raw_server(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{"a": 1}\r\n0\r\n\r\n') as url:
            self.assertEqual(given_peer(url).get("/x", {}), {"a": 1})

    def test_an_answer_in_many_small_chunks_is_read_to_its_end(self) -> None:
        value = ["word"] * 20_000
        pieces = json.dumps(value).encode()
        chunks = b"".join(b"5\r\n%b\r\n" % pieces[at : at + 5] for at in range(0, len(pieces) // 5 * 5, 5))
        rest = pieces[len(pieces) // 5 * 5 :]
        ending = (b"%x\r\n%b\r\n" % (len(rest), rest) if rest else b"") + b"0\r\nX-Trailer: y\r\n\r\n"
        with raw_server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + ending) as url:
            self.assertEqual(given_peer(url).get("/x", {}), value)

    def test_an_answer_that_is_only_announced_is_waited_for(self) -> None:
        announced = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nContent-Length: 7\r\nLink: </x>\r\n\r\n"
        with raw_server(announced + b'HTTP/1.1 201 Created\r\nContent-Length: 8\r\n\r\n{"a": 1}') as url:
            answer = given_peer(url).post("/x", {})
        self.assertEqual((201, b'{"a": 1}'), (answer.status, answer.content))

    def test_what_announces_an_answer_without_end_is_no_answer(self) -> None:
        with raw_server(b"HTTP/1.1 100 Continue\r\n\r\n" * 4_000) as url, self.assertRaises(ScoutUnavailable):
            given_peer(url).post("/x", {})

    def test_lines_may_end_without_a_carriage_return(self) -> None:
        with raw_server(b'HTTP/1.1 200 OK\nContent-Length: 8\n\n{"a": 1}') as url:
            self.assertEqual({"a": 1}, given_peer(url).get("/x", {}))

    def test_an_answer_of_no_content_has_none(self) -> None:
        with raw_server(b"HTTP/1.1 204 No Content\r\n\r\n") as url:
            answer = given_peer(url, 2.0).post("/x", {})
        self.assertEqual((204, b""), (answer.status, answer.content))

    def test_chunks_without_end_are_given_up(self) -> None:
        chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 400_000
        with raw_server(chunks) as url, self.assertRaisesRegex(ScoutUnavailable, "more than 1048576 bytes"):
            given_peer(url).post("/x", {})

    def test_an_answer_without_end_is_given_up(self) -> None:
        too_large = self.assertRaisesRegex(ScoutUnavailable, "more than 1048576 bytes")
        with Sibling(Reply(body=b'"' + b"x" * ANSWER_BYTES_MAX + b'"')) as server, too_large:
            given_peer(server.url).get("/x", {})

    def test_a_redirect_is_a_failure_and_is_not_followed(self) -> None:
        with Sibling() as other:
            for status in (301, 302, 303, 307, 308):
                reply = Reply(status, headers={"Location": other.url + "/elsewhere"})
                with self.subTest(status=status), Sibling(reply) as server:
                    peer = given_peer(server.url)
                    with self.assertRaisesRegex(ScoutUnavailable, f"status {status}"):
                        peer.decoded(peer.post("/x", {}))
                    self.assertEqual(len(server.received), 1)
            self.assertEqual(other.received, [])

    def test_time_that_is_spent_is_a_timeout(self) -> None:
        clock = FakeClock()
        deadline = Deadline.after(clock, 2)
        clock.advance(1.5)
        self.assertAlmostEqual(deadline.left(), 0.5)
        clock.advance(0.5)
        with self.assertRaises(TimeoutError):
            deadline.left()


class WritingTest(unittest.TestCase):
    def test_a_write_is_json_and_is_answered_whatever_the_status(self) -> None:
        with Sibling(says({"no": 1}, 422)) as server:
            answer = given_peer(server.url).post("/x", {"size": 1000.5})
            self.assertEqual((answer.status, answer.ok, answer.content), (422, False, b'{"no": 1}'))
            self.assertEqual(server.received[0].json, {"size": 1000.5})
            self.assertEqual(server.received[0].headers["content-type"], "application/json")

    def test_a_request_arrives_in_one_piece(self) -> None:
        pieces: list[bytes] = []
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve() -> None:
                connection, _ = listener.accept()
                with connection:
                    for _ in range(2):
                        pieces.append(connection.recv(65536))
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            peer = given_peer(f"http://127.0.0.1:{listener.getsockname()[1]}")
            for size in (1, 10_000):
                peer.post("/x", {"a": "b" * size})
            thread.join()
        for piece, size in zip(pieces, (1, 10_000), strict=True):
            self.assertTrue(piece.startswith(b"POST /x HTTP/1.1\r\n"))
            self.assertTrue(piece.endswith(b'\r\n\r\n{"a": "%b"}' % (b"b" * size)))

    def test_a_write_without_a_body_says_that_it_has_none(self) -> None:
        with Sibling() as server:
            peer = given_peer(server.url)
            for method, said in (("POST", "0"), ("GET", None)):
                peer.exchange(method, "/x")
                self.assertEqual(said, server.received[-1].headers.get("content-length"))

    def test_a_write_is_never_repeated(self) -> None:
        for name, reply in {"503": Reply(503), "broken off": Reply(breaks_off=True)}.items():
            with self.subTest(name), Sibling(reply) as server:
                peer = given_peer(server.url)
                with self.assertRaises(ScoutUnavailable):
                    peer.decoded(peer.post("/x", {}))
                self.assertEqual(len(server.received), 1)

    def test_the_time_for_a_write_can_be_shortened_and_not_stretched(self) -> None:
        for within in (0.1, 60, 0, -1):
            with self.subTest(within=within), Sibling(Reply(hangs=True)) as server:
                began = time.monotonic()
                with self.assertRaisesRegex(ScoutUnavailable, "in time"):
                    given_peer(server.url, TIMEOUT).post("/x", {}, within)
                self.assertLess(time.monotonic() - began, min(TIMEOUT, max(0, within)) + GRACE)

    def test_a_connection_that_the_peer_has_closed_meanwhile_is_not_used(self) -> None:
        with Sibling(Reply(headers={"Connection": "close"})) as server:
            peer = given_peer(server.url)
            peer.post("/x", {})
            self.assertTrue(peer.post("/x", {}).ok)

    def test_a_connection_that_was_closed_without_a_word_is_not_used(self) -> None:
        closed = threading.Event()
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve() -> None:
                for _ in range(2):
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                    closed.set()

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            peer = given_peer(f"http://127.0.0.1:{listener.getsockname()[1]}")
            self.assertTrue(peer.post("/x", {}).ok)
            self.assertTrue(closed.wait(5))
            self.assertTrue(peer.post("/x", {}).ok)
            thread.join()

    def test_nothing_that_comes_behind_an_answer_is_taken_for_the_next(self) -> None:
        """Whether it comes with the answer, in one piece, or before the next request is sent."""
        whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst"
        for name, behind, pause in (
            ("another answer", b"HTTP/1.1 418 No\r\nContent-Length: 5\r\n\r\nother", False),
            ("half an answer", b"HTTP/1.1 418 No\r\nCont", False),
            ("no HTTP", b"{}", False),
            ("a moment later", b"HTTP/1.1 418 No\r\nContent-Length: 5\r\n\r\nother", True),
        ):
            with self.subTest(name), socket.create_server(("127.0.0.1", 0)) as listener:
                sent, ports = threading.Event(), list[int]()

                def serve(
                    listener: socket.socket = listener,
                    behind: bytes = behind,
                    pause: bool = pause,
                    sent: threading.Event = sent,
                    ports: list[int] = ports,
                ) -> None:
                    with ExitStack() as open_until_the_end:
                        for _ in range(2):
                            connection, address = listener.accept()
                            open_until_the_end.enter_context(connection)
                            ports.append(address[1])
                            connection.recv(65536)
                            connection.sendall(whole if pause else whole + behind)
                            if pause:
                                sent.wait(PATIENCE)
                                connection.sendall(behind)
                                sent.clear()
                            else:
                                sent.set()

                thread = threading.Thread(target=serve, daemon=True)
                thread.start()
                peer = given_peer(f"http://127.0.0.1:{listener.getsockname()[1]}", 2.0)
                first = peer.post("/x", {})
                sent.set()
                while pause and sent.is_set():
                    time.sleep(0.001)
                second = peer.post("/x", {})
                sent.set()
                thread.join()
                self.assertEqual([(200, b"first")] * 2, [(one.status, one.content) for one in (first, second)])
                self.assertEqual(2, len(set(ports)))

    def test_an_answer_that_was_given_while_the_request_was_sent_is_read(self) -> None:
        """It is too large for who answers, and nobody reads the rest of it."""
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve() -> None:
                connection, _ = listener.accept()
                connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
                connection.shutdown(socket.SHUT_RDWR)
                with connection:
                    while connection.recv(65536):
                        pass

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            answer = given_peer(f"http://127.0.0.1:{listener.getsockname()[1]}").post("/x", {"a": "b" * 100})
            thread.join()
        self.assertEqual(413, answer.status)

    def test_a_request_that_nobody_reads_is_given_up(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            peer, began = given_peer(f"http://127.0.0.1:{listener.getsockname()[1]}", TIMEOUT), time.monotonic()
            with self.assertRaisesRegex(ScoutUnavailable, "in time"):
                peer.post("/x", {"a": "b" * 50_000_000})
        self.assertLess(time.monotonic() - began, TIMEOUT + GRACE)

    def test_connections_that_nobody_uses_are_closed_with_the_peer(self) -> None:
        with Sibling() as server:
            peer = given_peer(server.url)
            peer.post("/x", {})
            kept = peer._connections._kept
            self.assertEqual((1, []), (len(kept), kept[0]._reading.body))
            sock = kept[0].sock
            del peer
            gc.collect()
            self.assertEqual(-1, sock.fileno())

    def test_a_header_cannot_be_broken_into_two(self) -> None:
        with Sibling() as server, self.assertRaises(ScoutUnavailable):
            given_peer(server.url).exchange("GET", "/x", headers={"Authorization": "Bearer a\r\nX-Other: b"})
        self.assertEqual(server.received, [])

    def test_a_path_is_quoted(self) -> None:
        with Sibling() as server:
            given_peer(server.url).exchange("GET", "/x y/\u00fc?z\r\n")
            self.assertEqual(server.received[0].path, "/x%20y/%C3%BC%3Fz%0D%0A")


@unittest.skipUnless(shutil.which("openssl"), "openssl makes the certificate")
class SecureTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.certificate, key = folder / "certificate.pem", folder / "key.pem"
        subprocess.run(
            (
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
                *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
                *("-keyout", str(key), "-out", str(self.certificate)),
            ),
            check=True,
            capture_output=True,
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.certificate, key)
        self.listener = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        self.handshakes: list[str | None] = []
        thread = threading.Thread(target=self.serve, daemon=True)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.listener.shutdown, socket.SHUT_RDWR)

    def serve(self) -> None:
        while True:
            with suppress(ssl.SSLError):
                try:
                    connection, _ = self.listener.accept()
                except OSError:
                    return
                with connection, self.context.wrap_socket(connection, server_side=True) as secure:
                    self.handshakes.append(secure.version())
                    while secure.recv(65536):
                        secure.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}')

    def test_a_peer_that_can_prove_its_name_is_asked_over_one_connection(self) -> None:
        with patch("certifi.where", return_value=str(self.certificate)):
            peer = given_peer(f"https://localhost:{self.listener.getsockname()[1]}")
        answers = [peer.get("/x", {}) for _ in range(3)]
        self.assertEqual(answers, [{"a": 1}] * 3)
        self.assertEqual(len(self.handshakes), 1)
        del peer

    def test_a_peer_that_cannot_is_not_asked(self) -> None:
        port = self.listener.getsockname()[1]
        with self.assertRaisesRegex(ScoutUnavailable, "cannot be reached"):
            given_peer(f"https://localhost:{port}").post("/x", {"secret": 1})
        with (
            patch("certifi.where", return_value=str(self.certificate)),
            self.assertRaisesRegex(ScoutUnavailable, "cannot be reached"),
        ):
            given_peer(f"https://127.0.0.1:{port}").post("/x", {"secret": 1})
        self.assertEqual(self.handshakes, [])


class UrlTest(unittest.TestCase):
    def test_plain_http_is_for_the_loopback_interface(self) -> None:
        for url in (
            "http://localhost:8001",
            "http://127.0.0.1",
            "http://127.9.9.9:1/",
            "http://[::1]:8001",
            " https://a.b ",
        ):
            with self.subTest(url):
                self.assertIsInstance(given_peer(url), Peer)

    def test_a_url_that_may_not_be_used_is_refused_by_its_variable(self) -> None:
        urls = {
            "http://scout.example:8001": "https",
            "http://10.0.0.7": "https",
            "http://localhost.evil.example": "https",
            "http://127.0.0.1@evil.example": "no user",
            "https://user:pass@scout.example": "no user",
            "https://scout.example/?key=1": "query",
            "https://scout.example/#x": "fragment",
            "ftp://localhost": "URL such as",
            "localhost:8001": "URL such as",
            "http://": "URL such as",
            "http://[::1": "URL such as",
            "http://localhost:99999": "URL such as",
            "http://localhost:0": "URL such as",
            "https://scout..example": "URL such as",
            "": "URL such as",
        }
        for url, why in urls.items():
            with self.subTest(url), self.assertRaisesRegex(InvalidRequest, why) as caught:
                given_peer(url)
            self.assertEqual(list(caught.exception.fields), ["SCOUT_URL"])


class PlainTextTest(unittest.TestCase):
    def test_what_could_act_on_a_terminal_or_a_page_is_gone(self) -> None:
        for text, plain in {
            "fine words": "fine words",
            "a\x1b[31mred\x07": "a [31mred",
            "two\r\nlines": "two  lines",
            "turned \u202e round": "turned   round",
            "half \ud800 sign": "half   sign",
            "  ü € 漢  ": "ü € 漢",
        }.items():
            with self.subTest(text.encode("unicode_escape")):
                self.assertEqual(plain_text(text, 100), plain)

    def test_length_is_bounded(self) -> None:
        self.assertEqual(plain_text("x" * 1000, 10), "x" * 10)


if __name__ == "__main__":
    unittest.main()
