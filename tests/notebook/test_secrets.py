"""Tokens and passwords are never shown, stored or passed on, even if something fails.

The tests read every message of a kernel, and the bytes of every file that it
writes.
"""

import base64
import json
import re
import threading
from urllib.parse import quote

import pytest
from fake_ollama import Answer, FakeOllama, error, reply_line

MODEL = "llama3.2:3b"
BODY = {"model": MODEL, "messages": []}
TOKEN = "tok-S3cr3t~abc+DEF/0123=="
PASSWORD = "pw/S3cr3t@:x y"
_URL_PASSWORD = quote(PASSWORD, safe="")
_FORMS = {
    form
    for secret in (TOKEN, PASSWORD, f"ann:{PASSWORD}")
    for form in (
        secret,
        quote(secret),
        quote(secret, safe=""),
        base64.b64encode(secret.encode()).decode().rstrip("="),
        base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="),
        json.dumps(secret)[1:-1],
        "S3cr3t",
    )
}

# Shows everything about the last exception that Python can show.
PROBE = """\
import gc, sys, traceback
def _chain(error, seen=()):
    while error is not None and id(error) not in seen:
        yield error
        seen = (*seen, id(error))
        yield from _chain(error.__cause__, seen)
        error = error.__context__
def _told(error):
    yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
    for frame in traceback.format_exception(error):
        if "run_cell_magic('ollama'" not in frame:  # the cell, as the user typed it
            yield frame
    request = getattr(error, "request", None)
    yield repr(getattr(request, "headers", None))
for _error in _chain(getattr(sys, "last_value", None)):
    print(*_told(_error), sep="\\n")
"""
REPRS = """\
import ollama_magic as om
m = get_ipython().magics_manager.registry["OllamaMagics"]
s = m._session or m._commands._session
for thing in (om, m, s, s.settings, s.server, s.last_reply, vars(s), m.host):
    print(repr(thing))
try:
    print(repr(s.client()), vars(s.client()), repr(s.client()._credentials))
except Exception as error:
    print(*_told(error))
"""


@pytest.fixture
def fresh(kernel_with):
    """Give a kernel whose extension has no settings but the names of its files."""
    kernel = kernel_with()
    assert kernel.run(f"import os\n{PROBE}").status == "ok"
    return kernel


def leaks(text):
    return sorted(form for form in _FORMS if form in text)


def messages_of(ran):
    """Return everything that a cell sent, as JSON."""
    return json.dumps([ran.outputs, ran.asked], ensure_ascii=False, default=str)


def test_the_check_detects_a_leak(fresh):
    for secret in (TOKEN, PASSWORD):
        assert leaks(messages_of(fresh.run(f"print({secret!r})")))
        assert leaks(messages_of(fresh.run(f"raise ValueError({quote(secret)!r})")))
        shown = messages_of(fresh.run(f"try:\n    raise ValueError({secret!r})\n"
                               "except ValueError as error:\n"
                               "    raise KeyError('x') from None"))  # fmt: skip
        assert leaks(shown)
        # the context of the exception is searched too
        assert leaks(messages_of(fresh.run(PROBE)))
        assert leaks(base64.b64encode(secret.encode()).decode())


# -- every kind of error, with a server that echoes its requests --------------


def echo(request):
    """Return an error page that contains all headers and the URL."""
    sent = request.headers.get("authorization", "")
    kind, _, value = sent.partition(" ")
    plain = base64.b64decode(value).decode() if kind == "Basic" else ""
    return f"got {sent} {plain} at {request.path}"


def kinds():
    def as_json(status):
        return lambda request: error(status, echo(request))

    def as_page(status):
        return lambda request: Answer(
            [f"<title>{echo(request)}</title>"], status=status, content_type="text/html"
        )

    def redirect(status):
        return lambda request: Answer(
            status=status,
            headers={"Location": f"http://{quote(echo(request))}@x.example/"},
            framing="length",
        )

    begin = reply_line(BODY, content="Half")

    def escaped(status):
        """Escape every character of the secret, as an encoder may."""

        def answer(request):
            said = "".join(f"\\u{ord(char):04x}" for char in echo(request))
            return Answer([f'{{"error": "{said}"}}'], status=status)

        return answer

    return {
        "401": as_json(401),
        "400 escaped": escaped(400),
        "404 escaped": escaped(404),
        "escaped in the stream": escaped(200),
        "403 page": as_page(403),
        "404": as_json(404),
        "500": as_json(500),
        "502 page": as_page(502),
        "page": as_page(200),
        "301": redirect(301),
        "307": redirect(307),
        "relative redirect": lambda request: Answer(
            status=302, headers={"Location": "/" + quote(echo(request))}
        ),
        "error in the stream": lambda request: Answer(
            [begin, {"error": echo(request)}]
        ),
        "no JSON in the stream": lambda request: Answer([begin, echo(request) + "\n"]),
        "cut": lambda _: Answer([begin, begin], cut_after=150),
        "no end": lambda _: Answer([begin]),
        "no HTTP": lambda request: Answer([echo(request) + "\r\n\r\n"], raw=True),
        "odd status": lambda request: Answer(
            [f"HTTP/1.1 {echo(request)}\r\n\r\n"], raw=True
        ),
        "hang-up": lambda _: Answer([], raw=True),
        "odd type": lambda request: Answer(["x"], content_type=echo(request)),
    }


PLACES = {
    "token in the environment": (
        "os.environ['OLLAMA_API_KEY'] = {token!r}\nos.environ['OLLAMA_HOST'] = {url!r}",
        "",
    ),
    "password in the environment": ("os.environ['OLLAMA_HOST'] = {secret!r}", ""),
    "password in the setting": ("%config OllamaMagics.host = {secret!r}", ""),
    "password on the line": ("pass", "--host {secret}"),
}


def read(path):
    return path.read_bytes().decode("latin-1")


@pytest.mark.parametrize("place", PLACES, ids=lambda name: name.replace(" ", "-"))
def test_no_error_and_no_file_contains_a_secret(fresh, fake_ollama, tmp_path, place):
    setup, options = PLACES[place]
    secret = fake_ollama.url.replace("://", f"://ann:{_URL_PASSWORD}@")
    names = {"token": TOKEN, "url": fake_ollama.url, "secret": secret}
    assert fresh.run(setup.format(**names)).status == "ok"
    options = options.format(**names)
    said = {}
    fine = fresh.run(f"%%ollama {options}\nHi")
    assert fine.status == "ok"
    assert fake_ollama.requests[-1].headers["authorization"]
    for kind, answer in kinds().items():
        fake_ollama.on("POST /api/chat", answer)
        fake_ollama.on("POST /api/generate", answer)
        for once in ("", "--once"):
            ran = fresh.run(f"%%ollama {options} {once}\nHi")
            assert ran.status == "error", kind
            said[kind, once] = messages_of(ran)
            said[kind, once, "probe"] = messages_of(fresh.run(PROBE))
            if once:
                shown = [
                    fresh.run(f"%xmode {mode}\n%tb") for mode in ("Verbose", "Plain")
                ]
                said[kind, once, "tb"] = "".join(map(messages_of, shown))
    said["fine"] = messages_of(fine)
    said["reprs"] = messages_of(fresh.run(REPRS))
    for command in ("doctor", "config", "version", "", "list", "ps", "last --json",
                    "history --all", "chats", "panel"):  # fmt: skip
        said[command] = messages_of(fresh.run(f"%ollama {command}"))
    said["%config"] = messages_of(fresh.run("%config OllamaMagics"))
    said["%config host"] = messages_of(fresh.run("%config OllamaMagics.host"))
    state = "print(json.dumps(ipywidgets.Widget.get_manager_state()))"
    said["widgets"] = messages_of(fresh.run(f"import json, ipywidgets\n{state}"))
    for suffix in ("json", "md", "ipynb"):
        assert fresh.run(f"%ollama export {tmp_path / f'c.{suffix}'}").status == "ok"
    for path in tmp_path.iterdir():
        said[path.name] = read(path)
    assert {"chats.sqlite", "c.ipynb", "c.json", "c.md"} <= set(said)
    assert {what: leaks(text) for what, text in said.items() if leaks(text)} == {}


@pytest.mark.parametrize(
    "line",
    [
        "%config OllamaMagics.host = 'http://ann:{0}@127.0.0.1:9'",
        "%config OllamaMagics.host = 'https://ann:{0}@no-such-host.invalid'",
        "%config OllamaMagics.host = 'http://ann:{0}@gpu.invalid'",
        "%config OllamaMagics.host = 'http://ann:{0}@127.0.0.1:port'",
        "%config OllamaMagics.host = 'ftp://ann:{0}@127.0.0.1'",
        "%config OllamaMagics.host = 'http://ann:{0}@g pu'",
        "%config OllamaMagics.host = 'http://ann:{0}@[::1'",
        "%config OllamaMagics.host = 'http://ann:{0}@gpu/a?b'",
        "%config OllamaMagics.host = 'http://ann:{0}@a..b'",
        "os.environ['OLLAMA_HOST'] = 'http://ann:{0}@127.0.0.1:9:9'",
        "os.environ['OLLAMA_API_KEY'] = 'two words {0}'",
        "os.environ['OLLAMA_API_KEY'] = '\\u00fc{0}'",
        "os.environ['OLLAMA_API_KEY'] = '{0}'; "
        "os.environ['OLLAMA_HOST'] = 'http://gpu.invalid'",
        "os.environ['OLLAMA_API_KEY'] = '{0}'; "
        "os.environ['OLLAMA_HOST'] = 'http://127.0.0.1:9'",
        "os.environ['HTTPS_PROXY'] = 'http://ann:{0}@127.0.0.1:9'; "
        "os.environ['OLLAMA_HOST'] = 'https://gpu.invalid'",
    ],
)
def test_no_error_before_a_reply_shows_a_secret(fresh, line):
    said = [fresh.run(line.format("S3cr3t"))]
    for cell in ("%%ollama\nHi", "%ollama list", "%ollama pull x"):
        ran = fresh.run(cell)
        assert ran.status == "error", cell
        said += [ran, fresh.run(PROBE), fresh.run("%tb")]
    said += [fresh.run(REPRS), fresh.run("%ollama doctor"), fresh.run("%ollama config")]
    said.append(fresh.run("%ollama panel"))
    fresh.run("os.environ.pop('HTTPS_PROXY', None)")
    for ran in said:
        assert leaks(messages_of(ran)) == [], ran


# -- where a secret goes ---------------------------------------------------------------


def test_a_token_goes_to_no_other_host(fresh, fake_ollama):
    """Neither to ``--host`` nor to ``hosts=``."""
    with FakeOllama() as other:
        fresh.run(f"os.environ['OLLAMA_API_KEY'] = {TOKEN!r}\n"
                  f"os.environ['OLLAMA_HOST'] = {fake_ollama.url!r}")  # fmt: skip
        cells = [
            f"%%ollama --host {other.url}\nHi",
            f"%%ollama --host {other.url} --once\nHi",
            "from ollama_magic import ask, map_prompts, models\n"
            f"_ = ask('Hi', host={other.url!r})",
            f"_ = list(map_prompts('{{text}}', ['a', 'b'], hosts=[{other.url!r}]))",
        ]
        for cell in cells:
            ran = fresh.run(cell)
            assert ran.status == "ok", ran
        assert fresh.run("%%ollama\nHi").status == "ok"
        to_other = [r.headers.get("authorization") for r in other.requests]
        assert to_other
        assert set(to_other) == {None}
        ours = {r.headers.get("authorization") for r in fake_ollama.requests}
        assert ours == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nothing_is_sent_to_the_target_of_a_redirect(fresh, fake_ollama, status):
    with FakeOllama() as other:
        fresh.run(f"os.environ['OLLAMA_API_KEY'] = {TOKEN!r}\n"
                  f"os.environ['OLLAMA_HOST'] = {fake_ollama.url!r}")  # fmt: skip
        answer = Answer(status=status, headers={"Location": other.url + "/api/x"})
        for endpoint in ("GET /api/version", "GET /api/tags", "POST /api/chat",
                         "POST /api/pull", "DELETE /api/delete"):  # fmt: skip
            fake_ollama.on(endpoint, answer)
        for cell in ("%%ollama -m x\nHi", "%ollama list", "%ollama pull x",
                     "%ollama rm -y x", "%ollama serve"):  # fmt: skip
            ran = fresh.run(cell)
            assert ran.status == "error", cell
        assert other.requests == []


FAR = "http://gpu.example:11434"


@pytest.fixture
def remote_server(fresh):
    """Provide a server on another machine, for which a proxy stands in."""
    with FakeOllama() as proxy:
        version = Answer(['{"version": "9.9"}'], framing="length")
        model = {"name": "m:1", "capabilities": ["completion"]}
        answers = {
            "GET /api/version": version,
            "GET /api/tags": Answer([json.dumps({"models": [model]})]),
            "GET /api/ps": Answer(['{"models": []}']),
            "POST /api/chat": Answer([reply_line(BODY, content="Hi", done=True)]),
            "POST /api/generate": Answer([reply_line(BODY, content="Hi", done=True)]),
        }
        for endpoint, answer in answers.items():
            method, path = endpoint.split()
            proxy.on(f"{method} {FAR}{path}", answer)
        fresh.run(f"os.environ['OLLAMA_API_KEY'] = {TOKEN!r}\n"
                  f"os.environ['OLLAMA_HOST'] = {FAR!r}\n"
                  f"os.environ['HTTP_PROXY'] = {proxy.url!r}")  # fmt: skip
        yield proxy
        fresh.run("del os.environ['HTTP_PROXY']")


def sent_to(server):
    return {request.headers.get("authorization") for request in server.requests}


@pytest.mark.parametrize(
    "command",
    [
        "%ollama serve",
        "%ollama list",
        "%%ollama\nHi",
        "%%ollama --once\nHi",
        "from ollama_magic import ask\nprint(ask('Hi', model='m:1').notice)",
        "from ollama_magic import map_prompts\nmap_prompts('{}', ['a'], model='m:1')",
    ],
)
def test_a_token_is_never_sent_unencrypted_to_another_machine(
    fresh, remote_server, command
):
    """The request is sent without it, and the user is informed once."""
    ran = fresh.run(command)
    assert ran.status == "ok", ran
    allow = 'OllamaMagics.insecure_hosts = ["gpu.example:11434"]'
    said = f"{ran.text}{ran.streams}"
    assert f"The API key was not sent to {FAR}." in said
    assert allow in said
    again = fresh.run(command)
    assert again.status == "ok"
    assert "The API key was not sent" not in f"{again.text}{again.streams}"
    has_footer = command.startswith("%%ollama")
    assert (f"answered at {FAR}, without the API key" in again.text) == has_footer
    assert sent_to(remote_server) == {None}
    assert leaks(messages_of(ran)) == []


def test_the_status_and_the_doctor_report_a_key_that_is_not_sent(fresh, remote_server):
    for command in ("%ollama", "%ollama", "%ollama doctor"):
        ran = fresh.run(command)
        assert ran.status == "ok"
        text = " ".join(ran.text.split())
        assert text.count("http:// is not encrypted") == 1
        assert 'insecure_hosts = ["gpu.example:11434"]' in text
    assert sent_to(remote_server) == {None}


def test_a_host_in_insecure_hosts_gets_the_token(fresh, remote_server):
    fresh.run("%config OllamaMagics.insecure_hosts = ['gpu.example:11434']")
    for command in ("%ollama", "%%ollama\nHi", "%ollama serve", "%ollama list"):
        ran = fresh.run(command)
        assert ran.status == "ok", ran
        assert "API key" not in ran.text
    assert sent_to(remote_server) == {f"Bearer {TOKEN}"}
    assert "gpu.example:11434" in fresh.run("%ollama config").text
    fresh.run("%config OllamaMagics.insecure_hosts = ['http://ann:S3cr3t-1@gpu:1']")
    for command in ("%ollama config", "%config OllamaMagics"):
        assert leaks(messages_of(fresh.run(command))) == []


def test_extra_headers_are_sent_to_the_configured_host_alone(fresh, fake_ollama):
    """They appear in no list of settings and in no report."""
    fresh.run(f"headers = {{'X-Key': 'Key {TOKEN}'}}\n"
              f"os.environ['OLLAMA_HOST'] = {fake_ollama.url!r}\n"
              "%config OllamaMagics.headers = headers")  # fmt: skip
    said = ""
    for command in ("%ollama", "%%ollama\nHi", "%%ollama -1\nHi", "%ollama config",
                    "%config OllamaMagics", "%config OllamaMagics.headers",
                    "%ollama doctor", REPRS, "%%ollama\n{{ headers }}",
                    "from ollama_magic import ask\nprint(ask('Hi'))"):  # fmt: skip
        ran = fresh.run(command)
        assert ran.status == "ok", ran.error
        said += messages_of(ran)
    assert leaks(said) == []
    assert "X-Key (values not shown)" in said
    sent = fake_ollama.requests
    assert {request.headers.get("x-key") for request in sent} == {f"Key {TOKEN}"}
    assert leaks(b"".join(request.body for request in sent).decode()) == []
    with FakeOllama() as other:
        assert fresh.run(f"%%ollama --host {other.url}\nHi").status == "ok"
        assert {request.headers.get("x-key") for request in other.requests} == {None}


def test_an_invalid_header_is_rejected_when_it_is_set(fresh):
    ran = fresh.run(f"%config OllamaMagics.headers = {{'X Key': {TOKEN!r}}}")
    assert "A header in `headers` is invalid." in messages_of(ran)
    assert "{}" in fresh.run("%config OllamaMagics.headers").text
    far = "%config OllamaMagics.host = 'http://gpu.example:11434'"
    fresh.run(f"{far}\n%config OllamaMagics.headers = {{'X-Key': 'abc-12345'}}")
    error = fresh.run("%%ollama\nHi").error
    assert "The secret in headers was not sent to http://gpu.example:11434." in error
    assert 'insecure_hosts = ["gpu.example:11434"]' in error


def test_serve_keeps_the_password_of_the_address(fresh, fake_ollama):
    secret = fake_ollama.url.replace("://", f"://ann:{_URL_PASSWORD}@")
    fresh.run(f"os.environ['OLLAMA_HOST'] = {secret!r}")
    assert fresh.run("%ollama serve").status == "ok"
    assert fresh.run("%%ollama\nHi").status == "ok"
    (sent,) = sent_to(fake_ollama)
    assert base64.b64decode(sent.removeprefix("Basic ")).decode() == f"ann:{PASSWORD}"


# -- texts of a server and of prompts --------------------------------------------------

_SPELLINGS = {
    "plain": lambda secret: json.dumps(secret)[1:-1],
    "escaped": lambda secret: "".join(f"\\u{ord(char):04x}" for char in secret),
    "percent": lambda secret: quote(secret, safe=""),
}


@pytest.mark.parametrize("spelling", _SPELLINGS)
@pytest.mark.parametrize("kind", ["token", "password", "header"])
def test_no_text_of_a_server_shows_a_secret(
    fresh, fake_ollama, tmp_path, kind, spelling
):
    """In names, digests, versions, statuses and replies."""
    secret = PASSWORD if kind == "password" else TOKEN
    spelled = _SPELLINGS[spelling](secret)

    def says(*data):
        text = "".join(json.dumps(one) + "\n" for one in data)
        return Answer([text.replace("@@", spelled)])

    call = {"function": {"name": "@@", "arguments": {"@@": "@@"}}}
    model = {"name": "m@@:1", "digest": "@@", "details": {"family": "@@"}}
    digest = {"digest": "@@", "total": 2, "completed": 1}
    reply = [
        reply_line(BODY, thinking="hm @@"),
        reply_line(BODY, content="you sent @@"),
        reply_line(BODY, done=True, done_reason="@@"),
    ]
    fake_ollama.on("GET /api/version", says({"version": "1 @@"}))
    fake_ollama.on("GET /api/tags", says({"models": [model]}))
    fake_ollama.on("GET /api/ps", says({"models": [model]}))
    fake_ollama.on("POST /api/show", says({"template": "@@", "license": "@@"}))
    fake_ollama.on("POST /api/pull", says({"status": "@@"}, digest | {"status": "@@"}))
    fake_ollama.on("POST /api/chat", says(*reply))
    fake_ollama.on("POST /api/generate", says(*reply))
    host = fake_ollama.url
    if kind == "password":
        host = host.replace("://", f"://ann:{_URL_PASSWORD}@")
    if kind == "header":
        fresh.run(f"%config OllamaMagics.headers = {{'X-Key': {f'Key {TOKEN}'!r}}}")
    key = TOKEN if kind == "token" else ""
    fresh.run(f"os.environ['OLLAMA_HOST'] = {host!r}\n"
              f"os.environ['OLLAMA_API_KEY'] = {key!r}")  # fmt: skip
    said = {}
    for cell in ("%%ollama -m x\nHi", "%%ollama --once -m x\nHi", "%%ollama -m x\nYou?",
                 "%ollama serve", "%ollama list", "%ollama ps", "%ollama show x",
                 "%ollama show x --template", "%ollama pull x", "%ollama version",
                 "%ollama", "%ollama doctor", "%ollama panel", "%ollama history",
                 "%ollama last --json", "%%ollama\nwhich model?"):  # fmt: skip
        said[cell] = messages_of(fresh.run(cell))
    assert "you sent ***" in said["%%ollama -m x\nHi"]
    calls = says(reply_line(BODY, tool_calls=[call], done=True))
    fake_ollama.on("POST /api/chat", calls, says(*reply))
    fresh.run("def f(a: str) -> str:\n    return a")
    ran = fresh.run("%%ollama -m x -T f --yes\nCall it")
    assert ran.status == "ok", ran.error
    said["tools"] = messages_of(ran)
    for suffix in ("json", "md", "ipynb"):
        assert fresh.run(f"%ollama export {tmp_path / f'c.{suffix}'}").status == "ok"
    for path in tmp_path.iterdir():
        said[path.name] = read(path)
    assert {what: leaks(text) for what, text in said.items() if leaks(text)} == {}
    sent = b"".join(request.body for request in fake_ollama.requests).decode()
    assert leaks(sent) == []


def test_a_pasted_text_cannot_read_the_environment(fresh, fake_ollama, tmp_path):
    fresh.run(f"os.environ['OLLAMA_API_KEY'] = {TOKEN!r}\n"
              f"os.environ['OLLAMA_HOST'] = {fake_ollama.url!r}\n"
              "import sys, ollama_magic as om\n"
              "client = om.OllamaClient()\n"
              "magics = get_ipython().magics_manager.registry['OllamaMagics']\n"
              "ip = get_ipython()\n"
              "key = os.environ['OLLAMA_API_KEY']; one = {'key': key}\n"
              "keep = {'settings': dict(os.environ)}")  # fmt: skip
    for expression in ("os.environ", "sys.modules", "os", "client", "magics.host",
                       "client.host", "om", "keep", "keep['settings']['HOME']",
                       "ip", "ip.user_ns", "ip.history_manager"):  # fmt: skip
        ran = fresh.run(f"%%ollama\nSum up: {{{{ {expression} }}}}")
        assert ran.status == "error", expression
        assert ran.error.count("\n") == 2
        assert "compute what you need in a cell above" in ran.error
        assert leaks(messages_of(ran)) == []
    assert fake_ollama.bodies("/api/chat") == []
    # not all of it, because this kernel has also run the other tests
    fresh.run("recent = In[-9:]")
    for expression in ("one", "one['key']", "key", "recent"):
        ran = fresh.run(f"%%ollama\nSum up: {{{{ {expression} }}}}")
        assert ran.status == "ok", ran.error
        assert leaks(messages_of(ran)) == []
    fresh.run("def look(a: str = '') -> str:\n    return str(dict(os.environ))")
    call = {"function": {"name": "look", "arguments": {}}}
    calls = Answer([reply_line(BODY, tool_calls=[call], done=True)])
    end = Answer([reply_line(BODY, content="Hm", done=True)])
    fake_ollama.on("POST /api/chat", calls, end)
    able = {"name": MODEL, "capabilities": ["completion", "tools"]}
    fake_ollama.models([able])
    ran = fresh.run("%%ollama -T look --yes\nLook")
    assert ran.status == "ok", ran.error
    for code in (f"%%ollama --new -s {TOKEN}\nHi",
                 "x = om.map_prompts('{}', [key], system=key, progress=False)",
                 "x = om.map_decisions([key], ['a', 'b'], progress=False)",
                 "%ollama template save mine"):  # fmt: skip
        assert leaks(messages_of(fresh.run(code))) == []
    sent = b"".join(request.body for request in fake_ollama.requests).decode()
    assert "***" in sent
    assert leaks(sent) == []
    for path in tmp_path.iterdir():
        assert leaks(read(path)) == []


@pytest.mark.parametrize("call", ["chat('m', []).complete()", "embed('m', 'x')"])
def test_a_verbose_traceback_of_an_interrupt_shows_no_header(fresh, fake_ollama, call):
    never = threading.Event()
    for endpoint in ("POST /api/chat", "POST /api/embed"):
        fake_ollama.on(endpoint, Answer(hold_headers=never))
    fresh.run(f"os.environ['OLLAMA_API_KEY'] = {TOKEN!r}\n"
              f"os.environ['OLLAMA_HOST'] = {fake_ollama.url!r}\n"
              "from ollama_magic import OllamaClient\n%xmode Verbose")  # fmt: skip
    sent = fresh.send(f"OllamaClient().{call}")
    fake_ollama.wait_for("/api/" + call.partition("(")[0])
    fresh.manager.interrupt_kernel()
    ran = fresh.collect(sent)
    again = fresh.run("%tb")
    assert "KeyboardInterrupt" in ran.error
    assert "_send" in ran.error
    for said in (ran, again):
        assert leaks(messages_of(said)) == []
        assert "Authorization" not in messages_of(said)


def test_no_pickle_contains_a_secret(fresh, fake_ollama):
    """Neither the pickled job nor its result."""
    code = """\
import pickle
from concurrent.futures import Executor, Future
from ollama_magic import map_prompts
class Recording(Executor):
    def __init__(self): self.sent = []
    def submit(self, call, /, *args):
        self.sent.append(pickle.dumps(args))
        future = Future()
        future.set_result(call(*pickle.loads(self.sent[-1])))
        self.sent.append(pickle.dumps(future.result()))
        return future
recording = Recording()
rows = map_prompts("{text}", ["a", "b"], executor=recording)
print(list(rows), len(recording.sent), recording.sent)
"""
    fresh.run(f"os.environ['OLLAMA_API_KEY'] = {TOKEN!r}\n"
              f"os.environ['OLLAMA_HOST'] = {fake_ollama.url!r}")  # fmt: skip
    ran = fresh.run(code)
    assert ran.status == "ok", ran
    assert re.search(r"\b4 \[b'", ran.streams)
    assert leaks(messages_of(ran)) == []
    secret = fake_ollama.url.replace("://", f"://ann:{_URL_PASSWORD}@")
    fresh.run(f"os.environ['OLLAMA_HOST'] = {secret!r}")
    refused = fresh.run(code.replace('"a", "b"', '"c", "d"'))
    assert "was not sent to other processes" in refused.error
    assert leaks(messages_of(refused)) == []


def test_an_interrupted_reply_shows_no_secret(fresh, fake_ollama):
    never = threading.Event()
    fake_ollama.on("POST /api/generate", Answer([reply_line(BODY, content="Half")],
                                                hold_headers=never))  # fmt: skip
    fresh.run(f"os.environ['OLLAMA_API_KEY'] = {TOKEN!r}\n"
              f"os.environ['OLLAMA_HOST'] = {fake_ollama.url!r}")  # fmt: skip
    sent = fresh.send("%%ollama --once\nHi")
    fake_ollama.wait_for("/api/generate")
    fresh.manager.interrupt_kernel()
    ran = fresh.collect(sent)
    assert ran.status == "error"
    for said in (ran, fresh.run(PROBE), fresh.run("%tb"), fresh.run(REPRS)):
        assert leaks(messages_of(said)) == []


def test_the_token_of_a_started_server_is_not_shown():
    from ollama_magic.server.launch import RunningServer

    server = RunningServer("http://127.0.0.1:1", TOKEN, "embedded", "0-embedded")
    assert leaks(repr(server) + str(server)) == []


@pytest.mark.parametrize(
    "expression",
    ["In", "_ih", "Out", "_oh", "In[:]", "_ih[0:9][0:5]", "mine", "mine[1:]", "_dh"],
)
def test_a_pasted_text_does_not_read_the_session(kernel, fake_ollama, expression):
    kernel.run("password = 'S3cr3t'; mine = In\n6 * 7")
    ran = kernel.run(f"%%ollama -m {MODEL}\nSum up {{{{ {expression} }}}}")
    assert "it is the history of this session" in ran.error
    assert fake_ollama.bodies("/api/chat") == []


def test_one_entry_of_the_history_is_sent(kernel, fake_ollama):
    kernel.run("word = 'before'\n6 * 7")
    typed, came = kernel.run("print(len(In) - 2, max(Out))").streams.split()
    text = f"{{{{ In[{typed}] }}}} {{{{ Out[{came}] }}}} {{{{ _oh[{came}] }}}}"
    ran = kernel.run(f"%%ollama -m {MODEL}\n{text} {{{{ _i }}}} {{{{ In[-2] }}}}")
    assert ran.status == "ok", ran.error
    (body,) = fake_ollama.bodies("/api/chat")
    asked = body["messages"][-1]["content"]
    last = "print(len(In) - 2, max(Out))"
    assert asked == f"word = 'before'\n6 * 7 42 42 {last} {last}"
