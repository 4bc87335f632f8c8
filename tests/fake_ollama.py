"""A scripted HTTP server on 127.0.0.1 that stands in for Ollama in tests.

It has its own sockets, threads and framing, so that it can do what no well-behaved
server does. Use it as a context manager, or as the fixture ``fake_ollama``::

    with FakeOllama() as fake:
        fake.models(["llama3.2:3b"])
        fake.reply("Hello **world**", thinking="They greet me.")
        client = OllamaClient(fake.url)

**Without a script** it behaves like a small Ollama: it lists, shows, copies, pulls and
deletes the models set with ``models`` (initially ``llama3.2:3b``), answers their chats
with ``reply`` (initially ``Hello!``), and anything else with Ollama's 404. It honours
``"stream": false`` and requests that only load or unload.

**With a script** an endpoint sends the given answers::

    fake.on("POST /api/chat", Answer([line, Wait(event), line]))    # always
    fake.on("POST /api/chat", first, second)     # one each; the last repeats
    fake.on("POST /api/pull", lambda request: Answer([...]))        # computed
    fake.replay("chat_stream")                   # a recording, on its own endpoint

An ``Answer`` is a status, headers and ``steps``, run one after the other:

=====================  ========================================================
``dict``               one NDJSON line
``str``, ``bytes``     exactly these bytes of the body (one HTTP chunk)
``Wait(event)``        nothing is sent until the event is set (or the server stops)
``Pause(seconds)``     nothing is sent for this time
``RESET``              the connection is reset (RST), nothing after it is sent
=====================  ========================================================

``framing`` is ``chunked``, ``length`` or ``close``; ``cut_after=k`` closes the
connection after k bytes of body, framing included; ``raw=True`` sends the steps
without HTTP; ``hold_headers=event`` delays even the status line.

**Afterwards** ``fake.requests`` has every request in order (``method``, ``path``,
``headers``, ``body``, ``json``), ``fake.bodies("/api/chat")`` the JSON of those
to one path. ``fake.wait_for("/api/chat", count=2)`` waits for the second request, and
``request.wait_closed(timeout)`` until the client closes its connection; then
``request.closed_at`` is the ``time.monotonic()`` of the close, and ``was_cut_off`` is
true if the answer was incomplete.

Every wait ends when the server stops, and none lasts longer than ``PATIENCE_S``.
"""

import contextlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE_S = 20.0
WIRE = Path(__file__).parent / "wire"
NDJSON = "application/x-ndjson"
JSON = "application/json; charset=utf-8"
RESET = object()
_LONE = re.compile("[\ud800-\udfff]")
"""Lone surrogates: JSON can escape them, but UTF-8 cannot encode them."""
_DATE = "2026-11-22T20:47:14.372815304Z"
_DIGEST = "9077fe9d2ae1a4a41a868836b56b8163731a8fe16621397028c2c76f838c6907"
STATS = {
    "total_duration": 2_000_000_000,
    "load_duration": 100_000_000,
    "prompt_eval_count": 16,
    "prompt_eval_duration": 200_000_000,
    "eval_count": 8,
    "eval_duration": 400_000_000,
}


@dataclass(frozen=True)
class Wait:
    event: threading.Event


@dataclass(frozen=True)
class Pause:
    seconds: float


@dataclass(frozen=True)
class Answer:
    steps: Iterable[Any] = ()
    status: int = 200
    content_type: str | None = NDJSON
    headers: dict[str, str] = field(default_factory=dict)
    framing: str = "chunked"
    cut_after: int | None = None
    raw: bool = False
    hold_headers: threading.Event | None = None


def error(status: int, text: str) -> Answer:
    """Return an error response in Ollama's format."""
    body = json.dumps({"error": text}, separators=(",", ":"))
    return Answer([body], status=status, content_type=JSON, framing="length")


def json_answer(data: dict[str, Any]) -> Answer:
    """Return an answer that is one JSON object instead of a stream."""
    return Answer([json.dumps(data)], content_type=JSON, framing="length")


def recording(case: str) -> dict[str, Any]:
    """Read a recording in ``tests/wire`` by its name."""
    return json.loads((WIRE / f"{case}.json").read_text("utf-8"))


def recorded_answer(case: str) -> Answer:
    """Return the answer of a recording, with its lines, status, type and framing."""
    return answer_of(recording(case)["response"])


def answer_of(response: dict[str, Any]) -> Answer:
    """Return the answer for one response of a recording."""
    headers = {name.lower(): value for name, value in response["headers"]}
    steps = [
        line["line"] + ("" if line.get("no_newline") else "\n")
        for line in response["lines"]
        if "line" in line
    ]
    return Answer(
        steps,
        status=response["status"],
        content_type=headers.get("content-type"),
        framing="chunked" if "transfer-encoding" in headers else "length",
    )


class Request:
    """One request, and the state of its connection."""

    def __init__(self, method: str, path: str, headers: dict[str, str], body: bytes):
        self.method = method
        self.path = path
        self.headers = headers
        """Header values by their names in lower case."""
        self.body = body
        self.arrived_at = time.monotonic()
        self.closed_at: float | None = None
        self.was_cut_off = False
        self._closed = threading.Event()
        self._is_answered = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    def wait_closed(self, timeout: float = PATIENCE_S) -> bool:
        """Wait until the client has closed the connection; False if it did not."""
        return self._closed.wait(timeout)

    def _mark_closed(self) -> None:
        if not self._closed.is_set():
            self.closed_at = time.monotonic()
            self.was_cut_off = not self._is_answered
            self._closed.set()


class FakeOllama:
    """See the docstring of the module."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.requests: list[Request] = []
        self._scripts: dict[str, list[Any]] = {}
        self._models: dict[str, dict[str, Any]] = {}
        self._arrived = threading.Condition()
        self._stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._reply: Callable[[dict[str, Any]], Iterable[Any] | Answer]
        self.models(["llama3.2:3b"])
        self.reply("Hello!")

    # -- scripting ---------------------------------------------------------

    def on(self, endpoint: str, *answers: Answer | Callable[[Request], Answer]) -> None:
        """Script ``METHOD /path``: each answer is sent once, the last one repeats."""
        self._scripts[endpoint] = list(answers)

    def replay(self, *cases: str) -> None:
        """Replay recordings, each on its own endpoint."""
        for case in cases:
            request = recording(case)["request"]
            self.on(f"{request['method']} {request['path']}", recorded_answer(case))

    def models(self, models: Iterable[str | dict[str, Any]]) -> None:
        """Set the installed models: names, or entries of ``/api/tags``.

        An entry may be partial; it needs a ``name``.
        """
        entries = [{"name": m} if isinstance(m, str) else m for m in models]
        self._models = {entry["name"]: _model_entry(entry) for entry in entries}

    @property
    def model_names(self) -> list[str]:
        return list(self._models)

    def reply(
        self,
        text: str | Iterable[str],
        *,
        thinking: str = "",
        model: str | None = None,
        stats: dict[str, int] | None = None,
        done_reason: str = "stop",
        tool_calls: list[dict[str, Any]] | None = None,
    ) -> None:
        """Set the reply to every chat and generate request.

        A ``str`` is sent word by word, any other iterable item by item. ``model`` is
        the model name in the reply (default: the requested one).
        """
        pieces = _words(text) if isinstance(text, str) else list(text)
        end = {"done_reason": done_reason} | (STATS if stats is None else stats)

        def lines(body: dict[str, Any]) -> list[dict[str, Any]]:
            name = model or body["model"]
            found = [reply_line(body, name, thinking=t) for t in _words(thinking)]
            found += [reply_line(body, name, content=piece) for piece in pieces]
            if tool_calls:
                found.append(reply_line(body, name, tool_calls=tool_calls))
            return [*found, reply_line(body, name, done=True, **end)]

        self.chat(lines)

    def chat(self, answer: Callable[[dict[str, Any]], Iterable[Any] | Answer]) -> None:
        """Set a function that turns the JSON of a request into steps or an ``Answer``.

        It serves ``/api/chat`` and ``/api/generate`` for the installed models;
        ``reply_line(body, ...)`` makes a line in the right format.
        """
        self._reply = answer

    # -- what happened -----------------------------------------------------

    def bodies(self, path: str) -> list[Any]:
        """Return the JSON of all requests to a path, in order."""
        return [r.json for r in list(self.requests) if r.path == path]

    def wait_for(
        self, path: str, *, count: int = 1, timeout: float = PATIENCE_S
    ) -> Request:
        """Wait for the ``count``-th request to a path; an error if none comes."""

        def found() -> list[Request]:
            return [r for r in self.requests if r.path == path]

        with self._arrived:
            if not self._arrived.wait_for(lambda: len(found()) >= count, timeout):
                raise AssertionError(f"{len(found())} requests to {path}, not {count}")
            return found()[count - 1]

    # -- life --------------------------------------------------------------

    def __enter__(self) -> "FakeOllama":
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self._listener.settimeout(0.5)  # macOS does not wake accept() on shutdown
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._start(self._accept)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopping.set()
        _shut(self._listener)
        for connection in list(self._connections):
            _shut(connection)
        for thread in list(self._threads):
            thread.join(PATIENCE_S)

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.add(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        watcher = None
        try:
            request = _read_request(connection)
            if request is None:
                return
            watcher = threading.Thread(
                target=_watch, args=(connection, request), daemon=True
            )
            watcher.start()
            answer = self._answer(request)
            with self._arrived:
                self.requests.append(request)
                self._arrived.notify_all()
            _Sender(connection, request, self._stopping).send(answer)
        except OSError:
            pass  # the client disconnected, as some tests intend
        finally:
            _shut(connection, how=socket.SHUT_WR)
            if watcher is not None:
                watcher.join(PATIENCE_S)
            connection.close()
            self._connections.discard(connection)

    # -- a small Ollama ----------------------------------------------------

    def _answer(self, request: Request) -> Answer:
        endpoint = f"{request.method} {request.path.partition('?')[0]}"
        script = self._scripts.get(endpoint)
        if script:
            answer = script.pop(0) if len(script) > 1 else script[0]
            return answer(request) if callable(answer) else answer
        if endpoint in _GETS:
            return _GETS[endpoint](self)
        handler = _HANDLERS.get(endpoint)
        if handler is None:
            text = "404 page not found"
            return Answer([text], status=404, content_type="text/plain")
        body = request.json
        name = _full(body.get("model") or body.get("source") or "")
        if name not in self._models and endpoint not in _MAKES_MODELS:
            return error(404, f"model '{body.get('model', name)}' not found")
        return handler(self, body, name)

    def _root(self) -> Answer:
        return Answer(["Ollama is running"], content_type="text/plain")

    def _version(self) -> Answer:
        return json_answer({"version": "0.33.0"})

    def _tags(self) -> Answer:
        return json_answer({"models": list(self._models.values())})

    def _ps(self) -> Answer:
        return json_answer({"models": []})

    def _write(self, body: dict[str, Any], _name: str) -> Answer:
        if not (body.get("messages") or body.get("prompt")):
            reason = "unload" if body.get("keep_alive") == 0 else "load"
            done = reply_line(body, body["model"], done=True, done_reason=reason)
            return json_answer(done)
        steps = self._reply(body)
        if isinstance(steps, Answer):
            return steps
        if body.get("stream") is False:
            return json_answer(_joined(steps))
        return Answer(steps)

    def _show(self, _body: dict[str, Any], name: str) -> Answer:
        entry = self._models[name]
        family = entry["details"]["family"]
        context_length = entry["details"]["context_length"]
        info = {"general.architecture": family}
        return json_answer(
            {
                "modelfile": f"FROM {name}\n",
                "template": "{{ .Prompt }}",
                "details": entry["details"],
                "model_info": info | {f"{family}.context_length": context_length},
                "capabilities": entry["capabilities"],
            }
        )

    def _copy(self, body: dict[str, Any], name: str) -> Answer:
        new = _full(body["destination"])
        self._models[new] = self._models[name] | {"name": new, "model": new}
        return Answer(content_type=None, framing="length")

    def _delete(self, _body: dict[str, Any], name: str) -> Answer:
        del self._models[name]
        return Answer(content_type=None, framing="length")

    def _pull(self, _body: dict[str, Any], name: str) -> Answer:
        self._models.setdefault(name, _model_entry({"name": name}))
        layer = {"digest": f"sha256:{_DIGEST}", "total": 1000}
        status = f"pulling {_DIGEST[:12]}"
        lines = [{"status": status, **layer, "completed": n} for n in (250, 1000)]
        ends = ["verifying sha256 digest", "writing manifest", "success"]
        begin = {"status": "pulling manifest"}
        return Answer([begin, *lines, *({"status": end} for end in ends)])

    def _create(self, _body: dict[str, Any], name: str) -> Answer:
        self._models.setdefault(name, _model_entry({"name": name}))
        return Answer([{"status": "writing manifest"}, {"status": "success"}])


_GETS: dict[str, Callable[[FakeOllama], Answer]] = {
    "GET /": FakeOllama._root,
    "GET /api/version": FakeOllama._version,
    "GET /api/tags": FakeOllama._tags,
    "GET /api/ps": FakeOllama._ps,
}
_HANDLERS: dict[str, Callable[[FakeOllama, dict[str, Any], str], Answer]] = {
    "POST /api/chat": FakeOllama._write,
    "POST /api/generate": FakeOllama._write,
    "POST /api/show": FakeOllama._show,
    "POST /api/copy": FakeOllama._copy,
    "DELETE /api/delete": FakeOllama._delete,
    "POST /api/pull": FakeOllama._pull,
    "POST /api/create": FakeOllama._create,
}
_MAKES_MODELS = {"POST /api/pull", "POST /api/create"}


def reply_line(
    body: dict[str, Any],
    model: str = "",
    *,
    content: str = "",
    thinking: str = "",
    tool_calls: list[dict[str, Any]] | None = None,
    done: bool = False,
    **end: Any,
) -> dict[str, Any]:
    """Return a line of a reply in the format of the endpoint of ``body``."""
    line: dict[str, Any] = {"model": model or body["model"], "created_at": _DATE}
    extra: dict[str, Any] = {"thinking": thinking} if thinking else {}
    if "messages" in body:
        if tool_calls:
            extra["tool_calls"] = tool_calls
        line["message"] = {"role": "assistant", "content": content} | extra
    else:
        line |= {"response": content} | extra
    return line | {"done": done} | end


def _joined(steps: Iterable[Any]) -> dict[str, Any]:
    """Join the lines of a reply, as ``"stream": false`` asks for."""
    *lines, last = [step for step in steps if isinstance(step, dict)]
    whole_line = json.loads(json.dumps(last))
    for line in reversed(lines):
        source = line.get("message", line)
        target = whole_line.get("message", whole_line)
        for name in ("content", "response", "thinking", "tool_calls"):
            if name in source:
                empty = type(source[name])()
                target[name] = source[name] + target.get(name, empty)
    return whole_line


def _words(text: str) -> list[str]:
    return [word for word in text.replace(" ", "\0 ").split("\0") if word]


def _full(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _model_entry(entry: dict[str, Any]) -> dict[str, Any]:
    details = {
        "format": "gguf",
        "family": "llama",
        "parameter_size": "3.2B",
        "quantization_level": "Q4_K_M",
        "context_length": 8192,
    }
    defaults = {
        "model": entry["name"],
        "modified_at": "2026-11-22T20:39:56.2+00:00",
        "size": 2_019_393_189,
        "digest": _DIGEST,
        "capabilities": ["completion"],
    }
    given = dict(entry.get("details", {}))
    return defaults | entry | {"details": details | given}


class _Sender:
    """Sends one answer, step by step, with all its intended faults."""

    def __init__(
        self, connection: socket.socket, request: Request, stopping: threading.Event
    ) -> None:
        self._connection = connection
        self._request = request
        self._stopping = stopping

    def send(self, answer: Answer) -> None:
        if answer.hold_headers is not None:
            self._wait(answer.hold_headers)
        if answer.raw:
            for step in answer.steps:
                self._step(step, lambda data: data, None)
            return
        is_head = self._request.method == "HEAD"
        head, frame = self._framed(answer)
        self._connection.sendall(head)
        left = answer.cut_after
        for step in () if is_head else answer.steps:
            left = self._step(step, frame, left)
        if answer.framing == "chunked" and not is_head:
            left = self._put(b"0\r\n\r\n", left)
        self._request._is_answered = True

    def _framed(self, answer: Answer) -> tuple[bytes, Callable[[bytes], bytes]]:
        lines = [f"HTTP/1.1 {answer.status} Status", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        if answer.content_type is not None:
            lines.append(f"Content-Type: {answer.content_type}")
        frame: Callable[[bytes], bytes] = bytes
        if answer.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
            frame = _chunk
        elif answer.framing == "length":
            size = sum(len(_data(s)) for s in answer.steps if _is_data(s))
            lines.append(f"Content-Length: {size}")
        return "\r\n".join([*lines, "", ""]).encode(), frame

    def _step(
        self, step: Any, frame: Callable[[bytes], bytes], left: int | None
    ) -> int | None:
        if isinstance(step, Wait):
            self._wait(step.event)
        elif isinstance(step, Pause):
            self._wait(threading.Event(), step.seconds)
        elif step is RESET:
            linger = struct.pack("ii", 1, 0)
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            # The close is a reset only after the watcher has stopped reading.
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RD)
            self._request._closed.wait(PATIENCE_S)
            self._connection.close()
            raise ConnectionResetError
        else:
            return self._put(frame(_data(step)), left)
        return left

    def _put(self, data: bytes, left: int | None) -> int | None:
        if left is None:
            self._connection.sendall(data)
            return None
        self._connection.sendall(data[:left])
        if len(data) > left:
            raise ConnectionAbortedError("cut on purpose")
        return left - len(data)

    def _wait(self, event: threading.Event, seconds: float = PATIENCE_S) -> None:
        """Wait for the event, or until the client disconnects."""
        end = time.monotonic() + seconds
        while not event.wait(0.01) and time.monotonic() < end:
            if self._stopping.is_set() or self._request.is_closed:
                raise ConnectionAbortedError("nobody listens any more")


def _is_data(step: Any) -> bool:
    return isinstance(step, dict | str | bytes)


def _data(step: Any) -> bytes:
    if isinstance(step, dict):
        text = json.dumps(step, ensure_ascii=False, separators=(",", ":")) + "\n"
        return _LONE.sub(lambda m: json.dumps(m[0])[1:-1], text).encode()
    return step.encode() if isinstance(step, str) else step


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""


def _read_request(connection: socket.socket) -> Request | None:
    connection.settimeout(PATIENCE_S)
    data = connection.makefile("rb")
    method, _, rest = data.readline().decode("latin-1").partition(" ")
    if not rest:
        return None
    headers = {}
    while line := data.readline().strip().decode("latin-1"):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    body = data.read(int(headers.get("content-length", 0)))
    connection.settimeout(None)
    return Request(method, rest.rpartition(" ")[0], headers, body)


def _watch(connection: socket.socket, request: Request) -> None:
    """Read from the client until it closes the connection."""
    with contextlib.suppress(OSError):
        while connection.recv(65536):
            pass
    request._mark_closed()


def _shut(connection: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(how)
    if how == socket.SHUT_RDWR:
        with contextlib.suppress(OSError):
            connection.close()
