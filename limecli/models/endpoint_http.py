"""HTTP to one server: bounded in time, size and number of tries, and it goes nowhere else."""

from __future__ import annotations

import base64
import json
import os
import queue
import re
import threading
import time
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

from limecli.errors import LimecliError, ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import urllib3

TOKEN = "LIMECLI_ENDPOINT_TOKEN"  # noqa: S105 - the variable's name
MAX_BYTES = 64 << 20  # of one answer, as sent and as unpacked
_AGAIN = frozenset({429, 502, 503, 504})
_MOVED = frozenset({301, 302, 307, 308})
_TRIES, _BACKOFF_S, _REDIRECTS = 4, 0.2, 3


@dataclass(frozen=True)
class Target:
    """A URL taken apart. Only `shown` may be shown or recorded: it has no user and no query."""

    scheme: str
    host: str
    port: int
    path: str
    query: str = field(repr=False)
    authorization: str | None = field(repr=False)

    @property
    def origin(self) -> str:
        """scheme://host, and the port where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == (443 if self.scheme == "https" else 80)
        return f"{self.scheme}://{host}" + ("" if usual else f":{self.port}")

    @property
    def shown(self) -> str:
        """The URL as people may see it."""
        return self.origin + self.path

    @classmethod
    def parse(cls, url: str) -> Target:
        """Raises ModelError, without the URL, when it cannot be taken apart."""
        try:
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
            if not parts.hostname or any(char.isspace() or char < "!" for char in url):
                raise ValueError
        except ValueError:
            # Not even shown in part: nobody knows where its password ends.
            raise ModelError(
                "MODEL is no valid URL",
                "as in http://host:8080/v2/models/NAME; write / and @ in a password as %2F and %40",
            ) from None
        return cls(parts.scheme, parts.hostname, port, parts.path.rstrip("/"), parts.query,
                   _authorization(parts.username, parts.password))  # fmt: skip


def _authorization(user: str | None, password: str | None) -> str | None:
    if user is not None:
        pair = f"{unquote(user)}:{unquote(password or '')}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")
    token = os.environ.get(TOKEN, "").strip()
    if not (token.isascii() and token.isprintable()):
        raise ModelError(f"{TOKEN} holds characters that no token has")
    return f"Bearer {token}" if token else None


@dataclass(frozen=True)
class Answer:
    """What the server said: status, header fields and the unpacked body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    response: Any = field(repr=False)

    def json(self) -> Any:
        """The body as JSON. Raises ValueError when it is none."""
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError("nested too deeply") from None

    def kind(self) -> str:
        """What the body looks like, in words."""
        head = self.body[:512].lstrip().lower()
        if head.startswith((b"<!doctype html", b"<html")):
            return "an HTML page"
        return "an empty answer" if not head else "something that is no JSON"


class Connection:
    """One server and a pool of one kept-alive connection to it.

    Every failure is raised as `failure`, a LimecliError: what class it is depends on whether the
    model is being opened or asked. `timeout_s` bounds each call as a whole: looking up the name,
    every try and pause, and the last byte of the answer.
    """

    def __init__(self, target: Target, timeout_s: float) -> None:
        self.target, self.timeout_s = target, timeout_s
        self.failure: type[LimecliError] = ModelError
        self._pool: urllib3.HTTPConnectionPool | None = None
        self.dropped = False  # the last failure: it was there, took the question, and hung up
        self._usual = self._tries = 2  # while opening: a wrong address should not cost seconds

    def opened(self, failure: type[LimecliError]) -> None:
        """From here on the server is known to be there: try harder, and raise `failure`."""
        self.failure, self._usual, self._tries = failure, _TRIES, _TRIES

    def call(self, method: str, path: str, content: Any = None) -> Answer:
        """One request and its answer, whatever its status but for those worth another try."""
        import urllib3
        from urllib3.exceptions import HTTPError, MaxRetryError, ProtocolError

        self.dropped = False
        deadline = time.monotonic() + self.timeout_s
        # A prediction changes nothing on the server: POST may be sent again.
        retry = urllib3.Retry(
            self._tries - 1, backoff_factor=_BACKOFF_S, allowed_methods=None,
            status_forcelist=_AGAIN,
        )  # fmt: skip
        body = None if content is None else json.dumps(content, allow_nan=False).encode("ascii")
        redirects = 0
        while True:
            try:
                answer = self._within(deadline, method, path, body)
                if answer.status in _MOVED and "location" in answer.headers:
                    redirects += 1
                    path = self._moved(answer, path, redirects)
                    continue
                if not retry.is_retry(method, answer.status):
                    self._tries = self._usual
                    return answer
                reason = f"answered {answer.status}" + _after_colon(self.error_text(answer))
                asked = _retry_after(retry, answer)
                error = None
            except (HTTPError, OSError) as raised:
                answer, error, asked = None, raised, 0.0
                reason = _words(raised)
                if _is_final(raised):
                    raise self._broken(reason) from None
            try:
                retry = retry.increment(
                    method, path, response=answer.response if answer else None, error=error
                )
            except MaxRetryError:
                self.dropped = isinstance(error, ProtocolError)
                self._tries = 1  # the rows that follow need not wait for it as long again
                raise self._broken(reason) from None
            pause = max(retry.get_backoff_time(), asked)
            if time.monotonic() + pause >= deadline:
                self._tries = 1
                asks = f" and asks to wait {asked:.0f} s, longer than --timeout allows"
                raise self._broken(reason + (asks if asked else ""))
            time.sleep(pause)

    def _broken(self, reason: str) -> LimecliError:
        verb = "cannot be reached: " if self.failure is ModelError else "failed: "
        if reason.startswith("answered"):
            verb = ""
        hint = "is the server running, and is this its address?"
        if "certificate" in reason.lower():
            hint = "for a private authority: SSL_CERT_FILE=/path/ca.pem; there is no way round it"
        return self.failure(f"{self.target.shown} {verb}{reason}", hint)

    def _moved(self, answer: Answer, path: str, count: int) -> str:
        """The path of a redirect that stays on the server."""
        there = urljoin(self.target.origin + path, answer.headers["location"])
        try:
            parts = urlsplit(there)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            raise self.failure(f"{self.target.shown} redirects to no valid address") from None
        if (parts.scheme, parts.hostname, port) != (
            self.target.scheme, self.target.host, self.target.port,
        ):  # fmt: skip
            where = _one_line(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")
            raise self.failure(
                f"{self.target.shown} redirects to {where}, another server: not followed",
                "if that is where the model is, give its URL",
            )
        if count > _REDIRECTS:
            raise self.failure(f"{self.target.shown} redirects in circles")
        return parts.path

    def _within(self, deadline: float, method: str, path: str, body: bytes | None) -> Answer:
        """One exchange. A thread makes it: no socket option bounds names, headers and drips."""
        from urllib3.exceptions import HTTPError

        box: queue.SimpleQueue[Answer | Exception] = queue.SimpleQueue()
        pool = self._pool = self._pool or self._open()
        target = f"{path or '/'}?{self.target.query}" if self.target.query else path or "/"
        thread = threading.Thread(
            target=lambda: box.put(
                _exchange(pool, deadline, method, target, body, self._headers())
            ),
            daemon=True,
        )
        thread.start()
        try:
            result = box.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            result = TimeoutError()
        if isinstance(result, TimeoutError):
            self._pool, self._tries = None, 1
            raise self.failure(
                f"{self.target.shown} did not answer within {self.timeout_s:g} s",
                "give it longer with --timeout, or less to do at a time with --batch-size",
            )
        if isinstance(result, _TooLargeError):
            self._pool = None
            raise self.failure(
                f"{self.target.shown} answers with more than {MAX_BYTES >> 20} MiB",
                "a smaller --batch-size makes answers smaller",
            )
        if isinstance(result, (HTTPError, OSError)):
            raise result
        if isinstance(result, Exception):  # a host or path that HTTP cannot spell, say
            raise self.failure(f"{self.target.shown} cannot be asked: {_one_line(str(result))}")
        return result

    def _headers(self) -> dict[str, str]:
        own = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "limecli",
               "Content-Type": "application/json"}  # fmt: skip
        if self.target.authorization:
            own["Authorization"] = self.target.authorization
        return own

    def _open(self) -> urllib3.HTTPConnectionPool:
        import urllib3

        # A pool, not a manager: nothing asks the environment for a proxy. Certificates are checked.
        if self.target.scheme == "https":
            return urllib3.HTTPSConnectionPool(
                self.target.host, self.target.port, cert_reqs="CERT_REQUIRED"
            )
        return urllib3.HTTPConnectionPool(self.target.host, self.target.port)

    def error_text(self, answer: Answer) -> str:
        """The server's own words in one line, "" where there are none. Secrets do not return."""
        try:
            text = _message(answer.json())
        except ValueError:
            text = answer.body[: 1 << 16].decode("utf-8", "replace")
            title = re.search(r"(?is)<title>(.*?)</title>", text)
            text = title[1] if title else re.sub(r"<[^<>]*>", " ", text)
        lines = [line for line in text.splitlines() if line.strip()]
        if lines and lines[0].startswith("Traceback"):
            lines.reverse()  # the last line of a traceback says what happened
        text = _one_line(lines[0]) if lines else ""
        secret = (self.target.authorization or "").partition(" ")[2]
        return text.replace(secret, "***") if secret else text


class _TooLargeError(Exception):
    pass


def _exchange(
    pool: urllib3.HTTPConnectionPool,
    deadline: float,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
) -> Answer | Exception:
    try:
        response = pool.urlopen(
            method, path, body=body, headers=headers, retries=False, redirect=False,
            timeout=max(0.001, deadline - time.monotonic()), preload_content=False,
        )  # fmt: skip
        parts, size = [], 0
        while chunk := response.read1(1 << 16, decode_content=False):
            size += len(chunk)
            parts.append(chunk)
            if size > MAX_BYTES or time.monotonic() > deadline:
                response.close()
                return _TooLargeError() if size > MAX_BYTES else TimeoutError()
        response.release_conn()
        fields = {name.lower(): value for name, value in response.headers.items()}
        packing = fields.get("content-encoding", "identity").lower()
        return Answer(response.status, fields, _unpacked(b"".join(parts), packing), response)
    except Exception as error:  # handed to the thread that waits, which tells them apart
        from urllib3.exceptions import NewConnectionError
        from urllib3.exceptions import TimeoutError as Late

        late = isinstance(error, Late) and not isinstance(error, NewConnectionError)
        return TimeoutError() if late else error


def _unpacked(data: bytes, packing: str) -> bytes:
    """Undo gzip, never into more than MAX_BYTES."""
    if packing not in ("gzip", "x-gzip", "deflate"):
        return data  # anything else was not asked for, and will turn out to be no JSON
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        text = unpacker.decompress(data, MAX_BYTES + 1)
    except zlib.error:
        return b""
    if len(text) > MAX_BYTES:
        raise _TooLargeError
    return text


def _retry_after(retry: Any, answer: Answer) -> float:
    from urllib3.exceptions import InvalidHeader

    try:
        return float(retry.get_retry_after(answer.response) or 0.0)
    except (InvalidHeader, ValueError, OverflowError):
        return 0.0


def _is_final(error: Exception) -> bool:
    """Whether another try would end the same way: an unknown name, a certificate."""
    from urllib3.exceptions import NameResolutionError, SSLError

    return isinstance(error, (NameResolutionError, SSLError))


def _words(error: Exception) -> str:
    """What the network's error is, without urllib3's object names."""
    from urllib3.exceptions import NameResolutionError

    if isinstance(error, NameResolutionError):
        return "no such host"
    inner: BaseException | None = error
    while inner is not None:
        text = getattr(inner, "verify_message", None) or getattr(inner, "strerror", None)
        if text:
            prefix = "its certificate is refused: " if hasattr(inner, "verify_message") else ""
            return prefix + _one_line(str(text))
        args = [arg for arg in inner.args if isinstance(arg, BaseException)]
        inner = inner.__cause__ or inner.__context__ or (args[0] if args else None)
    return "the connection broke: " + _one_line(str(error.args[0] if error.args else error))


def _message(content: Any) -> str:
    """The sentence inside an error object of KServe, MLServer, Triton, MLflow or FastAPI."""
    if isinstance(content, dict):
        trace = content.get("stack_trace")  # MLflow's: its last line is the reason
        if isinstance(trace, str) and trace.strip():
            return trace.strip().splitlines()[-1]
        for key in ("message", "error", "detail", "msg"):
            if content.get(key):
                return _message(content[key])
        return ""
    if isinstance(content, list):
        return _message(content[0]) if content else ""
    # MLflow quotes the data before it says what is wrong.
    return content.rpartition("Error: ")[2] if isinstance(content, str) else ""


def _one_line(text: str) -> str:
    text = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(text.split())[:300]


def _after_colon(text: str) -> str:
    return f": {text}" if text else ""
