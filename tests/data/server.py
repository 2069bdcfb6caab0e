"""A server on the loopback that answers with whatever fault a test asks for."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import trustme

from metaccord.data import Connection

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Hands each request to the answer of its path."""

    def do_GET(self) -> None:
        owner = self.server.owner
        with owner.guard:
            owner.asked.append(self.path)
        with contextlib.suppress(OSError):  # the client may leave, as some tests want
            owner.answers.get(self.path, status(404))(self)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def begin(self, code: int, **headers: object) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


class Server:
    """``answers`` maps a path to what happens; ``asked`` lists the requests."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.socket = context.wrap_socket(
            self._http.socket, server_side=True, do_handshake_on_connect=False
        )
        self._http.owner = self
        self._http.handle_error = lambda *_: None
        self._http.daemon_threads = True
        self.url = f"https://127.0.0.1:{self._http.server_port}"
        self.guard = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []

    def connection(self, **options: object) -> Connection:
        """A connection to this server that does not wait between attempts."""
        known = {"base_url": self.url, "ca": self.ca, "pause": 0.0, "silence": 5.0}
        return Connection(**(known | options))

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


def whole(content: bytes, kind: str = "application/zip") -> Answer:
    """The file, as it should be."""

    def answer(handler: Handler) -> None:
        handler.begin(200, Content_Length=len(content), Content_Type=kind)
        handler.wfile.write(content)

    return answer


def cut(content: bytes, sent: int) -> Answer:
    """Only the first bytes, then silence and a closed connection."""

    def answer(handler: Handler) -> None:
        handler.begin(200, Content_Length=len(content))
        handler.wfile.write(content[:sent])

    return answer


def silent(content: bytes, seconds: float) -> Answer:
    """The header, then nothing."""

    def answer(handler: Handler) -> None:
        handler.begin(200, Content_Length=len(content))
        handler.wfile.flush()
        time.sleep(seconds)

    return answer


def trickle(content: bytes, pause: float) -> Answer:
    """One byte at a time."""

    def answer(handler: Handler) -> None:
        handler.begin(200, Content_Length=len(content))
        for value in content:
            handler.wfile.write(bytes([value]))
            time.sleep(pause)

    return answer


def status(code: int) -> Answer:
    """A refusal."""
    return lambda handler: handler.begin(code, Content_Length=0)


def moved(target: str) -> Answer:
    """A redirection."""
    return lambda handler: handler.begin(302, Location=target, Content_Length=0)


def in_turn(*answers: Answer) -> Answer:
    """Each answer once, in order."""
    left = iter(answers)
    return lambda handler: next(left)(handler)
