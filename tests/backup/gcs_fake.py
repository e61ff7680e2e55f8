"""A strict fake of Google Cloud Storage: real HTTP on 127.0.0.1, preconditions, and faults.

::

    with GcsFake("bucket") as fake:                   # STORAGE_EMULATOR_HOST=fake.url
        fault = fake.arm(Kind.STATUS, operation=Operation.INSERT, times=3, status=503)
        ...
        assert fault.fired == 3

It speaks the JSON API as the official client uses it, and is as strict as the real service where a
backup leans on it: exactly one of several creators wins, a precondition of a resumable upload is
checked when its last part has come, checksums are compared, old generations are gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import struct
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from gcs_faults import Fault, Kind, Operation
from gcs_objects import Buckets, Object, Refusal

SECRET = "a-secret-of-the-store"
"""It stands in the id of every upload and in the body of every error: no text may repeat it."""

_QUANTUM = 256 << 10
"""Parts of a resumable upload are multiples of this; what else arrived is not kept."""
_PIECE = 64 << 10
_OBJECT = re.compile(r"/b/([^/]+)/o/([^/]+)(?:/(?:copyTo|rewriteTo)/b/([^/]+)/o/([^/]+))?")
_METHODS = {"GET": Operation.GET, "PATCH": Operation.PATCH, "DELETE": Operation.DELETE}


@dataclass
class _Upload:
    """A resumable upload that goes on."""

    bucket: str
    fields: Mapping[str, Any]
    query: Mapping[str, str]
    content: bytearray = field(default_factory=bytearray)
    finished: Object | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Request(NamedTuple):
    """What a request is about, before its body is read."""

    method: str
    operation: Operation
    bucket: str
    name: str
    query: Mapping[str, str]
    target: tuple[str, str] = ("", "")


class Answer(NamedTuple):
    """What is answered."""

    status: int
    body: bytes | memoryview = b""
    headers: Mapping[str, str] = {}


class GcsFake:
    """The server; use it as a context manager. Every method may be called by any thread."""

    def __init__(self, *buckets: str) -> None:
        self.objects = Buckets()
        self.requests: deque[tuple[str, Operation, str]] = deque(maxlen=100_000)
        """Method, operation and name of the object of every request, the oldest first."""
        self.authorizations: set[str] = set()
        """What requests brought along as their right to be answered."""
        self._faults: list[Fault] = []
        self._uploads: dict[str, _Upload] = {}
        for bucket in buckets:
            self.objects.create_bucket(bucket)
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """The address, as ``STORAGE_EMULATOR_HOST`` takes it."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def arm(self, kind: Kind, **options: Any) -> Fault:
        """Arm a fault; see `Fault` for the options. The first one that fits a request strikes."""
        fault = Fault(kind, **options)
        self._faults.append(fault)
        return fault

    def disarm(self) -> None:
        """Disarm every fault, and go on with what they hold up."""
        for fault in self._faults:
            fault.disarm()
        self._faults = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.disarm()
        self._server.shutdown()
        self._server.disconnect()
        self._server.server_close()
        self._thread.join(20)

    def strike(self, request: _Request) -> Fault | None:
        """Return the fault that strikes a request."""
        self.requests.append((request.method, request.operation, request.name))
        meeting = (
            f for f in self._faults if f.meets(request.method, request.operation, request.name)
        )
        return next(meeting, None)

    def parsed(self, method: str, target: str) -> _Request:
        """Return what a request is about."""
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        path = re.sub(r"^(/resumable)?/(upload|download)(?=/)", "", parts.path)
        path = path.removeprefix("/storage/v1")
        if upload_id := query.get("upload_id"):
            upload = self._uploads.get(upload_id)
            name = upload.fields.get("name", "") if upload else ""
            return _Request(method, Operation.CHUNK, upload.bucket if upload else "", name, query)
        if match := _OBJECT.fullmatch(path):
            bucket, name, *copied = (unquote(part or "") for part in match.groups())
            operation = Operation.COPY if method == "POST" else _METHODS.get(method)
            if method == "GET" and (query.get("alt") == "media" or "/download/" in target):
                operation = Operation.MEDIA
            if operation is None:
                raise Refusal(405)
            return _Request(method, operation, bucket, name, query, (copied[0], copied[1]))
        bucket, _, rest = path.removeprefix("/b").strip("/").partition("/")
        if rest == "o":
            kinds = {"multipart": Operation.INSERT, "media": Operation.INSERT}
            operation = kinds.get(query.get("uploadType", ""), Operation.BEGIN)
            operation = Operation.LIST if method == "GET" else operation
            return _Request(method, operation, unquote(bucket), query.get("name", ""), query)
        if rest:
            raise Refusal(404)
        return _Request(method, Operation.BUCKET, unquote(bucket), "", query)

    def named(self, request: _Request, headers: Message, body: bytearray) -> _Request:
        """Return an upload's request with the name of its object, which is in its body."""
        if request.operation not in (Operation.INSERT, Operation.BEGIN) or request.name:
            return request
        fields = _multipart(headers, body)[0] if request.operation == "insert" else _json(body)
        return request._replace(name=fields.get("name", ""))

    def answer(self, request: _Request, headers: Message, body: bytearray) -> Answer:
        """Do what is asked for."""
        objects, bucket, name, query = self.objects, request.bucket, request.name, request.query
        match request.operation:
            case Operation.BUCKET if request.method == "POST":
                return _document(objects.create_bucket(_json(body)["name"]))
            case Operation.BUCKET:
                return _document(objects.bucket(bucket))
            case Operation.LIST:
                return _document(objects.list(bucket, query))
            case Operation.GET:
                return _document(objects.get(bucket, name, query).resource())
            case Operation.MEDIA:
                return _media(objects.get(bucket, name, query), headers.get("Range"))
            case Operation.PATCH:
                return _document(objects.patch(bucket, name, _json(body), query).resource())
            case Operation.DELETE:
                objects.delete(bucket, name, query)
                return Answer(204)
            case Operation.COPY:
                copied = objects.copy((bucket, name), request.target, query)
                return _document(copied.resource())
            case Operation.INSERT:
                fields, content = _multipart(headers, body)
                made = objects.insert(bucket, fields, content, query, _hashes(headers))
                return _document(made.resource())
            case Operation.BEGIN:
                return self._begin(request, _json(body))
            case Operation.CHUNK:
                return self._chunk(query["upload_id"], headers, body)

    def _begin(self, request: _Request, fields: Mapping[str, Any]) -> Answer:
        self.objects.bucket(request.bucket)
        upload_id = f"{SECRET}-{secrets.token_hex(8)}"
        self._uploads[upload_id] = _Upload(request.bucket, fields, request.query)
        path = f"/upload/storage/v1/b/{request.bucket}/o?uploadType=resumable"
        return Answer(200, b"", {"Location": f"{self.url}{path}&upload_id={upload_id}"})

    def forget(self, request: _Request) -> None:
        """Forget a resumable upload, as the service does after a week."""
        self._uploads.pop(request.query.get("upload_id", ""), None)

    def keep(self, request: _Request, headers: Message, body: bytearray) -> None:
        """Keep of a part that broke off what the service would keep: whole quanta of it."""
        upload = self._uploads.get(request.query.get("upload_id", ""))
        match = re.fullmatch(r"bytes (\d+)-\d+/[\d*]+", headers.get("Content-Range", ""))
        if upload and match:
            whole = len(body) - len(body) % _QUANTUM
            with upload.lock:
                upload.content += body[len(upload.content) - int(match[1]) : whole]

    def _chunk(self, upload_id: str, headers: Message, body: bytearray) -> Answer:
        upload = self._uploads.get(upload_id)
        if upload is None:
            raise Refusal(410, "gone")
        match = re.fullmatch(
            r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", headers.get("Content-Range", "bytes */*")
        )
        if match is None:
            raise Refusal(400, "badContentRange")
        with upload.lock:
            if upload.finished:
                return _document(upload.finished.resource())
            if match[1] is not None:
                start, end = int(match[1]), int(match[2])
                if end - start + 1 != len(body):
                    raise Refusal(400, "badContentRange")
                if start > len(upload.content):
                    return _resume(upload)
                # What is there already is sent again after a connection broke: it is skipped.
                upload.content += body[len(upload.content) - start :]
            if match[3] == "*" or int(match[3]) > len(upload.content):
                if len(upload.content) % _QUANTUM:
                    raise Refusal(400, "badChunkSize")
                return _resume(upload)
            return self._finish(upload_id, upload, _hashes(headers))

    def _finish(self, upload_id: str, upload: _Upload, hashes: Mapping[str, str]) -> Answer:
        content, upload.content = upload.content, bytearray()
        try:
            upload.finished = self.objects.insert(
                upload.bucket, upload.fields, content, upload.query, hashes
            )
        except Refusal:
            del self._uploads[upload_id]
            raise
        return _document(upload.finished.resource())


def _json(body: bytearray) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        raise Refusal(400, "parseError") from None
    if not isinstance(document, dict):
        raise Refusal(400, "parseError")
    return document


def _multipart(headers: Message, body: bytearray) -> tuple[dict[str, Any], bytearray]:
    """Return the description and the content of an upload in one request."""
    boundary = headers.get_param("boundary")
    if not isinstance(boundary, str):
        raise Refusal(400, "parseError")
    mark = b"--" + boundary.encode()
    second = body.find(mark, len(mark))
    last = body.rfind(b"\r\n" + mark + b"--")
    description = body.find(b"\r\n\r\n") + 4
    start = body.find(b"\r\n\r\n", second) + 4
    if not body.startswith(mark) or second < 0 or last < start - 2:
        raise Refusal(400, "parseError")
    return _json(body[description:second].strip()), body[start:last]


def _hashes(headers: Message) -> dict[str, str]:
    stated = ",".join(headers.get_all("X-Goog-Hash", []))
    return dict(part.strip().split("=", 1) for part in stated.split(",") if "=" in part)


def _document(document: Mapping[str, Any]) -> Answer:
    return Answer(200, json.dumps(document).encode(), {"Content-Type": "application/json"})


def _resume(upload: _Upload) -> Answer:
    there = {"Range": f"bytes=0-{len(upload.content) - 1}"} if upload.content else {}
    return Answer(308, b"", there)


def _media(found: Object, wanted: str | None) -> Answer:
    """Return the content, or the range of it that was asked for."""
    headers = {
        "Content-Type": found.fields.get("contentType", "application/octet-stream"),
        "Accept-Ranges": "bytes",
        "X-Goog-Generation": str(found.generation),
        "X-Goog-Metageneration": str(found.metageneration),
        "X-Goog-Hash": f"crc32c={found.crc32c},md5={found.md5}",
        "X-Goog-Stored-Content-Length": str(found.size),
    }
    content, size = memoryview(found.content), len(found.content)
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted or "")
    if match is None or match[1] + match[2] == "":
        return Answer(200, content, headers)
    start = int(match[1]) if match[1] else max(0, size - int(match[2]))
    end = min(int(match[2]), size - 1) if match[1] and match[2] else size - 1
    if start >= size:
        raise Refusal(416, "requestedRangeNotSatisfiable")
    return Answer(
        206, content[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{size}"}
    )


class _Server(ThreadingHTTPServer):
    """The server's threads, and the connections that are open."""

    fake: GcsFake
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.connections: set[socket.socket] = set()

    def disconnect(self) -> None:
        """End every connection, so that its thread ends."""
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""


class _Broken(Exception):
    """The connection is no more."""


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def _serve(self) -> None:
        with contextlib.suppress(_Broken):
            try:
                self._answered()
            except Refusal as refusal:
                self._send(_error(refusal))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _answered(self) -> None:
        fake, request = self.server.fake, self.server.fake.parsed(self.command, self.path)
        fake.authorizations.add(self.headers.get("Authorization", ""))
        length = int(self.headers.get("Content-Length", 0))
        # The name of an object that is inserted is in the body, so faults strike after it came in;
        # but for a reset, which is about the parts of uploads that are known by then.
        early = request.operation == Operation.CHUNK
        fault = fake.strike(request) if early else None
        resets = fault is not None and fault.kind == Kind.RESET_UPLOAD
        body = self._read(min(length, fault.after) if fault and resets else length)
        if not early:
            request = fake.named(request, self.headers, body)
            fault = fake.strike(request)
        if fault is None:
            self._send(fake.answer(request, self.headers, body))
        else:
            self._strike(fault, request, body)

    def _strike(self, fault: Fault, request: _Request, body: bytearray) -> None:
        fake = self.server.fake
        match fault.kind:
            case Kind.STATUS:
                raise Refusal(fault.status, "injected")
            case Kind.STALL:
                self.wfile.write(b"H")
                fault.hold()
                self._reset()
            case Kind.RESET_UPLOAD:
                fake.keep(request, self.headers, body)
                self._reset()
            case Kind.LOSE_ANSWER | Kind.FORGET:
                with contextlib.suppress(Refusal):
                    fake.answer(request, self.headers, body)
                if fault.kind == Kind.FORGET:
                    fake.forget(request)
                self._reset()
            case Kind.TRUNCATE:
                self._send(self._truncated(fault, request))
            case Kind.CORRUPT:
                self._send(self._corrupted(request, body))
            case Kind.RESET_DOWNLOAD:
                answer = fake.answer(request, self.headers, body)
                self._send(answer, cut=fault.after)
                self._reset()

    def _corrupted(self, request: _Request, body: bytearray) -> Answer:
        if body:
            body[len(body) // 2] ^= 0xFF
        answer = self.server.fake.answer(request, self.headers, body)
        if request.operation != Operation.MEDIA:
            return answer
        content = bytearray(answer.body)
        content[len(content) // 2] ^= 0xFF
        return answer._replace(body=bytes(content))

    def _truncated(self, fault: Fault, request: _Request) -> Answer:
        found = self.server.fake.objects.get(request.bucket, request.name, request.query)
        short = Object(**{**vars(found), "content": found.content[: fault.after]})
        return _media(short, self.headers.get("Range"))

    def _read(self, length: int) -> bytearray:
        body = bytearray()
        while len(body) < length:
            piece = self.rfile.read(min(_PIECE, length - len(body)))
            if not piece:
                self.close_connection = True
                raise _Broken
            body += piece
        return body

    def _send(self, answer: Answer, cut: int | None = None) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body[:cut])

    def _reset(self) -> None:
        """Close the connection at once, in a way that the other side meets as a reset."""
        self.close_connection = True
        self.server.connections.discard(self.connection)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())
        raise _Broken


def _error(refusal: Refusal) -> Answer:
    said = {"message": f"{refusal.reason} {SECRET}", "reason": refusal.reason, "domain": "global"}
    error = {"code": refusal.status, "message": said["message"], "errors": [said]}
    return _document({"error": error})._replace(status=refusal.status)
