"""The arena's page on this machine alone: no other host, no other site, no network."""

from __future__ import annotations

import json
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files as resources
from threading import Lock
from typing import Any

from harness.arena.ballot import CHOICES, SIDES, Ballot
from harness.core.errors import HarnessError
from harness.store.pictures import Broken
from harness.store.votes import QUESTIONS

HOST = "127.0.0.1"
_LARGEST_BODY = 1000
_KINDS = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"RIFF", "image/webp"))
_POLICY = (
    "default-src 'none'; img-src 'self' data:; connect-src 'self'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Arena(ThreadingHTTPServer):
    """Serves a ballot on 127.0.0.1, at a port of its own if `port` is 0.

    A vote needs the token that only the page holds, so that no other site can cast one.
    """

    daemon_threads = True

    def __init__(self, ballot: Ballot, port: int = 0) -> None:
        self.ballot, self.lock, self.token = ballot, Lock(), secrets.token_urlsafe(24)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise HarnessError(
                f"cannot listen at {HOST}:{port}: {error.strerror}; take another --port"
            ) from None
        except OverflowError:
            raise HarnessError(f"--port {port} is not in 0 to 65535") from None
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/"

    def page(self) -> str:
        text = (resources("harness.arena") / "page.html").read_text(encoding="utf-8")
        return text.replace('"TOKEN"', json.dumps(self.token))

    def state(self) -> dict[str, Any]:
        """The state of the page: progress and the next pair, if any, without names of runs."""
        at = self.ballot.next
        prompt = None if at is None else self.ballot.pairs[at].prompt
        return {
            "done": self.ballot.done,
            "total": len(self.ballot.pairs),
            "at": at,
            "prompt": prompt,
            "question": QUESTIONS[self.ballot.question],
        }


class _Handler(BaseHTTPRequestHandler):
    server: Arena
    server_version = "arena"
    sys_version = ""

    def log_message(self, format: str, *args: Any) -> None:
        """The terminal is for the address alone."""

    def do_GET(self) -> None:
        if not self._ours():
            return
        if self.path == "/":
            self._answer(self.server.page().encode(), "text/html; charset=utf-8")
        elif self.path == "/state":
            self._state()
        else:
            self._image()

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not self._ours():
            return
        if not secrets.compare_digest(self.headers.get("X-Token", "").encode(), self._token()):
            return self._refuse(HTTPStatus.FORBIDDEN)
        if not length.isdigit() or int(length) > _LARGEST_BODY:
            return self._refuse(HTTPStatus.BAD_REQUEST)
        body = self.rfile.read(int(length))
        if self.path == "/undo":
            with self.server.lock:
                self.server.ballot.undo()
        elif self.path == "/vote":
            if not self._voted(body):
                return self._refuse(HTTPStatus.BAD_REQUEST)
        else:
            return self._refuse(HTTPStatus.NOT_FOUND)
        self._state()

    def _token(self) -> bytes:
        return self.server.token.encode()

    def _ours(self) -> bool:
        """Whether the request names this host, and comes from this page or the address bar.

        A site that resolves its own name to this machine names another host.
        """
        origin = self.headers.get("Origin")
        same = self.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")
        known = origin is None or origin.removeprefix("http://") in self.server.hosts
        if self.headers.get("Host") in self.server.hosts and known and same:
            return True
        self._refuse(HTTPStatus.FORBIDDEN)
        return False

    def _voted(self, body: bytes) -> bool:
        """Keep a vote `{"at": 3, "choice": "left"}`; False for anything else."""
        try:
            vote = json.loads(body)
            at, choice = vote["at"], vote["choice"]
        except (ValueError, KeyError, TypeError):
            return False
        if type(at) is not int or not 0 <= at < len(self.server.ballot.pairs):
            return False
        if choice not in CHOICES:
            return False
        with self.server.lock:
            self.server.ballot.vote(at, choice)
        return True

    def _state(self) -> None:
        with self.server.lock:
            state = self.server.state()
        self._answer(json.dumps(state).encode(), "application/json")

    def _image(self) -> None:
        """`/image/3/left`."""
        parts = self.path.split("/")
        ballot = self.server.ballot
        good = len(parts) == 4 and parts[1] == "image" and parts[2].isdecimal()
        if not good or int(parts[2]) >= len(ballot.pairs) or parts[3] not in SIDES:
            return self._refuse(HTTPStatus.NOT_FOUND)
        with self.server.lock:
            picture = ballot.image(int(parts[2]), parts[3])
        kind = None if isinstance(picture, Broken) else _kind(picture)
        if isinstance(picture, Broken) or kind is None:
            return self._refuse(HTTPStatus.NOT_FOUND)
        self._answer(picture, kind)

    def _refuse(self, status: HTTPStatus) -> None:
        self._answer(status.phrase.encode(), "text/plain", status)

    def _answer(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": _POLICY,
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _kind(picture: bytes) -> str | None:
    """The content type of a picture's bytes; None for formats that are not served."""
    return next((kind for start, kind in _KINDS if picture.startswith(start)), None)
