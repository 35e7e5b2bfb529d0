"""Answers as they come, in pieces of any size: believed only when they are whole and unambiguous."""

import http.client
import io
import unittest
from collections.abc import Iterator
from http.client import HTTPException

from hypothesis import given
from hypothesis import strategies as st

from trading.adapters.http_answer import HEAD_BYTES_MAX, Read, Receive, TooLarge, read_answer

MOST = 1000
HEAD = b"HTTP/1.1 200 OK\r\n"
PIECES = (1, 2, 7, 1 << 16)


def in_pieces(answer: bytes, size: int) -> Receive:
    parts: Iterator[bytes] = iter([answer[at : at + size] for at in range(0, len(answer), size)])
    return lambda most: next(parts, b"")


class WholeAnswerTest(unittest.TestCase):
    def test_each_way_of_telling_the_end_of_a_body(self) -> None:
        for name, answer, told in (
            ("a length", HEAD + b"Content-Length: 2\r\n\r\n{}", Read(200, b"{}", True)),
            (
                "the same length twice",
                HEAD + b"content-length: 2\r\nContent-Length: 2\r\n\r\n{}",
                Read(200, b"{}", True),
            ),
            ("nothing", HEAD + b"Content-Length: 0\r\n\r\n", Read(200, b"", True)),
            (
                "chunks",
                HEAD + b"Transfer-Encoding: Chunked\r\n\r\n1;x=y\r\n{\r\n1\r\n}\r\n0\r\nA: b\r\n\r\n",
                Read(200, b"{}", True),
            ),
            ("the end", HEAD + b"\r\n{}", Read(200, b"{}", False)),
            ("no content", b"HTTP/1.1 204 No Content\r\n\r\n", Read(204, b"", True)),
            ("no reason", b"HTTP/1.1 500\r\nContent-Length: 1\r\n\r\nx", Read(500, b"x", True)),
            (
                "going on",
                b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"Content-Length: 1\r\n\r\n1",
                Read(200, b"1", True),
            ),
        ):
            for size in PIECES:
                with self.subTest(name, size=size):
                    self.assertEqual(read_answer(in_pieces(answer, size), MOST), told)

    def test_a_connection_is_not_used_again_when_it_ends_or_is_spoilt(self) -> None:
        for answer in (
            HEAD + b"Connection: keep-alive, Close\r\nContent-Length: 1\r\n\r\n1",
            b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n1",
            HEAD + b"Content-Length: 1\r\n\r\n1 and more",
        ):
            with self.subTest(answer):
                self.assertEqual(read_answer(in_pieces(answer, 1 << 16), MOST), Read(200, b"1", False))

    @given(
        st.dictionaries(st.sampled_from(["X-A", "Server", "date"]), st.text("ab c:;=,", max_size=9)),
        st.binary(max_size=300),
        st.booleans(),
        st.integers(1, 400),
    )
    def test_what_is_well_formed_is_read_as_the_standard_library_reads_it(
        self, headers: dict[str, str], body: bytes, chunked: bool, size: int
    ) -> None:
        lines = [f"{name}: {value}".encode() for name, value in headers.items()]
        if chunked:
            lines.append(b"Transfer-Encoding: chunked")
            parts = [body[at : at + 50] for at in range(0, len(body), 50)]
            wire = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        else:
            lines.append(b"Content-Length: %d" % len(body))
            wire = body
        answer = b"\r\n".join((b"HTTP/1.1 201 Made", *lines, b"", b"")) + wire

        class Wire:
            def makefile(self, mode: str) -> io.BytesIO:
                return io.BytesIO(answer)

        theirs = http.client.HTTPResponse(Wire())  # type: ignore[arg-type]  # all that it asks of a socket
        theirs.begin()
        self.assertEqual(read_answer(in_pieces(answer, size), MOST), Read(theirs.status, theirs.read(), True))


class RefusedAnswerTest(unittest.TestCase):
    def test_what_is_not_whole_or_not_clear_is_no_answer(self) -> None:
        answers = {
            "nothing": b"",
            "another protocol": b"220 mail.example ESMTP\r\n\r\n",
            "another version": b"HTTP/2 200\r\n\r\n",
            "switching": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "a cut head": HEAD + b"Content-Le",
            "a cut body": HEAD + b"Content-Length: 3\r\n\r\n{}",
            "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
            "two lengths in one": HEAD + b"Content-Length: 2, 2\r\n\r\n{}",
            "a signed length": HEAD + b"Content-Length: +2\r\n\r\n{}",
            "a negative length": HEAD + b"Content-Length: -2\r\n\r\n{}",
            "a length beside chunks": HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "another coding": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "a folded header": HEAD + b"X: y\r\n z\r\n\r\n",
            "a space before the colon": HEAD + b"Content-Length : 2\r\n\r\n{}",
            "no colon": HEAD + b"Content-Length\r\n\r\n{}",
            "a bare line break": HEAD + b"X: y\nContent-Length: 2\r\n\r\n{}",
            "many headers": HEAD + b"X: y\r\n" * 101 + b"\r\n",
            "an endless head": HEAD + b"X: " + b"y" * HEAD_BYTES_MAX + b"\r\n\r\n",
            "a chunk without size": HEAD + b"Transfer-Encoding: chunked\r\n\r\n\r\n{}\r\n0\r\n\r\n",
            "a chunk in words": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
            "a chunk of another size": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
            "cut chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
            "cut trailers": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
            "endless trailers": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 101 + b"\r\n",
        }
        for name, answer in answers.items():
            for size in (3, 1 << 16):
                with self.subTest(name, size=size), self.assertRaises(HTTPException) as caught:
                    read_answer(in_pieces(answer, size), MOST)
                self.assertNotIsInstance(caught.exception, TooLarge)

    def test_what_is_too_large_is_told_as_that_before_it_is_read(self) -> None:
        large = b"x" * (MOST + 1)
        for name, answer in {
            "by its length": HEAD + b"Content-Length: %d\r\n\r\n" % len(large),
            "in one chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(large),
            "in two": HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n1\r\n" % (MOST, large[:MOST]),
            "to the end": HEAD + b"\r\n" + large,
        }.items():
            with self.subTest(name), self.assertRaises(TooLarge):
                read_answer(in_pieces(answer, 100), MOST)

    def test_the_largest_that_may_be_is_read(self) -> None:
        most = b"x" * MOST
        for answer in (HEAD + b"Content-Length: %d\r\n\r\n" % MOST + most, HEAD + b"\r\n" + most):
            self.assertEqual(read_answer(in_pieces(answer, 100), MOST).content, most)


if __name__ == "__main__":
    unittest.main()
