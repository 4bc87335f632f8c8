"""The attack corpus in a real browser: nothing runs, is fetched or navigates away.

Every script of the corpus sets ``top.owned``, and every address in it leads to a test
server that records requests. The page shows all vectors in batches, and some of each
class alone; the test opens everything folded and hovers over every element.
"""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import corpus
import pytest
from fake_ollama import Answer, Request, json_answer, reply_line
from hostile import ADDRESS
from playwright.sync_api import expect

WAIT_MS = 90_000
MODEL = "llama3.2:3b"
BODY = {"model": MODEL, "messages": []}
_LONGEST = 600
_BATCH = 110
_ALONE = 40

SETUP = """\
%load_ext ollama_magic
%config OllamaMagics.host = {url!r}"""
RAW = """\
from IPython.display import HTML, display
display(HTML("<img src={sink}/raw onerror=top.owned=1>"))"""

IS_TRUSTED = """() => jupyterapp.shell.currentWidget.content.widgets.every(
    cell => cell.model.trusted)"""


class Sink:
    """A server that gets no request if every attack fails."""

    def __enter__(self):
        asked = self.asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_error(404)

            def do_POST(self):
                self.do_GET()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


class Watched:
    """A page, and the unwanted events on it."""

    def __init__(self, page, sink):
        self.page, self.sink = page, sink
        self.events = []
        page.on("dialog", lambda dialog: self._note("dialog", dialog.message, dialog))
        page.on("popup", lambda popup: self._note("popup", popup.url))
        page.on("download", lambda download: self._note("download", download.url))
        self._url = page.url

    def _note(self, kind, what, dialog=None):
        self.events.append((kind, what))
        if dialog is not None:
            dialog.dismiss()

    def touch_everything(self):
        """Open everything folded, and send mouse and key events to all outputs."""
        self.page.evaluate(
            """() => {
                for (const fold of document.querySelectorAll('details')) {
                    fold.open = true;
                }
                const kinds = ['mouseover', 'mouseenter', 'mousemove', 'pointerenter',
                    'pointerover', 'focus', 'focusin', 'animationstart', 'wheel',
                    'selectstart', 'copy', 'toggle', 'load', 'error'];
                const all = '.jp-OutputArea-output, .jp-OutputArea-output *';
                for (const element of document.querySelectorAll(all)) {
                    for (const kind of kinds) {
                        element.dispatchEvent(new Event(kind, {bubbles: false}));
                    }
                }
            }"""
        )

    def faults(self):
        """Return unwanted events, elements and links."""
        found = list(self.events)
        if self.page.evaluate("() => top.owned") is not None:
            found.append("a script ran")
        if self._url != self.page.url:
            found.append(self.page.url)
        hrefs = self.page.evaluate(
            """() => Array.from(
                document.querySelectorAll('.jp-OutputArea-output [href]'),
                link => link.getAttribute('href'))"""
        )
        # NB: "" is from JupyterLab, for a path in plain text: the link shows the file.
        found += [href for href in hrefs if href and not ADDRESS.fullmatch(href)]
        bad = self.page.evaluate(
            """() => Array.from(document.querySelectorAll(
                '.jp-OutputArea-output :is(script, iframe, object, embed, form, img,'
                + ' video, audio, link, meta, base, svg:not(mjx-container *),'
                + ' [onerror], [onload], [onclick], [data-commandlinker-command])'),
                element => element.outerHTML.slice(0, 200))"""
        )
        return found + bad + self.sink.asked


@pytest.fixture
def sink():
    with Sink() as running:
        yield running


@pytest.fixture
def texts(sink):
    """Provide the vectors, with addresses that lead to the sink."""
    every = corpus.vectors(sink=sink.url)
    return {name: text for name, text in every.items() if len(text) <= _LONGEST}


def some(texts):
    """Return a few vectors of each class, for tests in which each is slow."""
    return list(texts.values())[:: max(len(texts) // _ALONE, 1)]


def in_batches(texts):
    every = list(texts.values())
    return [
        "\n\n".join(every[start : start + _BATCH])
        for start in range(0, len(every), _BATCH)
    ]


class HostileServer:
    """Replies to each prompt with the text that it names."""

    def __init__(self, fake, texts):
        self.batches, self.alone = in_batches(texts), some(texts)
        self.texts = list(texts.values())
        capable = {"name": MODEL, "capabilities": ["completion", "tools"]}
        fake.models([capable])
        self.url = fake.url
        fake.on("POST /api/chat", self.answer)
        fake.on("POST /api/generate", self.answer)
        fake.on("GET /api/version", json_answer({"version": "\n".join(self.alone)}))

    def answer(self, request: Request) -> Answer:
        body = request.json
        messages = body.get("messages")
        if messages and messages[-1]["role"] == "tool":
            return Answer([reply_line(body, content="x"), reply_line(body, done=True)])
        prompt = messages[-1]["content"] if messages else body["prompt"]
        kind, _, number = prompt.split()[0].partition("-")
        source = self.alone if kind == "alone" else self.batches
        text = source[int(number or 0) % len(source)]
        done = reply_line(body, done=True)
        if kind == "error":
            return Answer([reply_line(body, content=text), {"error": text}])
        if kind == "call":
            call = {"function": {"name": "f", "arguments": {"a": text}}}
            strange = {"function": {"name": text, "arguments": {text: text}}}
            said = reply_line(body, content=text, tool_calls=[call, strange])
            return Answer([said, done])
        lines = [reply_line(body, thinking=text)] if kind == "think" else []
        # Live, in many pieces, for the first batch; every frame is checked in render/.
        size = 2000 if number and number != "0" else 60
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        return Answer([*lines, *(reply_line(body, content=p) for p in pieces), done])


def cells_of(server):
    """Return the cells that show all vectors in every way."""
    batches = range(len(server.batches))
    alone = f"""\
from ollama_magic import ask
from IPython.display import display
for number in range({len(server.alone)}):
    display(ask(f"alone-{{number}}", model="{MODEL}"))"""
    return [
        *(f"%%ollama --once {MODEL}\nanswer-{number}" for number in batches),
        *(f"%%ollama --once {MODEL} -f html\nanswer-{number}" for number in batches),
        *(f"%%ollama --once {MODEL}\nthink-{number}" for number in batches[::3]),
        "def f(a: str) -> str:\n    'F.'\n    return a",
        f"%%ollama {MODEL} -T f --yes --new\ncall-1",
        f"%%ollama --compare {MODEL},{MODEL}:latest\nanswer-2",
        f"%%ollama --once {MODEL}\nerror-3",
        "%ollama history",
        "%ollama doctor",
        alone,
    ]


def open_watched(open_notebook, jupyter, sink, name, cells):
    page = open_notebook(jupyter.write_notebook(name, cells), alone=True)
    return page, Watched(page.page, sink)


def test_the_check_detects_scripts_and_requests(
    open_notebook, jupyter, sink, browser, fake_ollama
):
    """In a live cell, in an exported page, and in an untrusted file."""
    name = "raw.ipynb"
    page, watched = open_watched(
        open_notebook, jupyter, sink, name, [RAW.format(sink=sink.url)]
    )
    assert watched.faults() == []
    page.run_to_end(0)
    page.page.wait_for_function("() => top.owned === 1", timeout=WAIT_MS)
    assert any("img" in str(fault) for fault in watched.faults())
    assert set(sink.asked) == {"/raw"}  # Chromium may ask again
    with page.page.expect_event("dialog"):
        page.page.evaluate("() => { setTimeout(() => alert(1)) }")
    assert ("dialog", "1") in watched.events
    page.save()
    with exported(browser, sink, jupyter.root / name) as page_of_file:
        page_of_file.page.wait_for_function("() => top.owned === 1", timeout=WAIT_MS)
        assert set(sink.asked) == {"/raw"}
        assert len(sink.asked) > 1


class exported:  # noqa: N801  (used as a function)
    """A notebook as a page of nbconvert, opened from its file."""

    def __init__(self, browser, sink, path):
        self._browser, self._sink, self._path = browser, sink, path

    def __enter__(self):
        command = [sys.executable, "-m", "nbconvert", "--to", "html", str(self._path)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        self._page = self._browser.new_page()
        # NB: what nbconvert itself loads (MathJax from a CDN) is blocked.
        self._page.route("https://**", lambda route: route.abort())
        self._page.goto(self._path.with_suffix(".html").as_uri())
        return Watched(self._page, self._sink)

    def __exit__(self, *_):
        self._page.close()


@pytest.fixture
def server(fake_ollama, texts):
    return HostileServer(fake_ollama, texts)


def test_no_attack_has_an_effect_in_jupyterlab(
    open_notebook, jupyter, sink, server, browser
):
    """Live, in the saved file with and without trust, and in nbconvert's page."""
    setup = SETUP.format(url=server.url)
    name, cells = "hostile.ipynb", [setup, *cells_of(server)]
    page, watched = open_watched(open_notebook, jupyter, sink, name, cells)
    page.run_to_end(0)
    for number in range(1, len(cells)):
        page.run_to_end(number)
        if not cells[number].startswith("def "):
            page.output(number).first.wait_for(timeout=WAIT_MS, state="attached")
    watched.touch_everything()
    page.screenshot("hostile-live")
    assert watched.faults() == []
    assert page.page.locator(".jp-OutputArea-output details").count() > 3
    page.save()
    path = jupyter.root / name
    again, watched = reopened(open_notebook, sink, name)
    assert again.page.evaluate(IS_TRUSTED)
    assert watched.faults() == []
    untrusted = json.loads(path.read_text())
    untrusted["metadata"]["from"] = "somebody else"
    (jupyter.root / "untrusted.ipynb").write_text(json.dumps(untrusted))
    again, watched = reopened(open_notebook, sink, "untrusted.ipynb")
    again.screenshot("hostile-untrusted")
    assert not again.page.evaluate(IS_TRUSTED)
    assert watched.faults() == []
    with exported(browser, sink, path) as watched:
        watched.touch_everything()
        assert watched.faults() == []
        assert watched.page.locator(".jp-OutputArea-output details").count() > 3


def reopened(open_notebook, sink, name):
    """Open a file alone: JupyterLab brings back what was open in its workspace."""
    page = open_notebook(name, alone=True)
    watched = Watched(page.page, sink)
    page.page.evaluate(
        """async name => {
            for (const widget of Array.from(jupyterapp.shell.widgets('main'))) {
                if (widget.context && widget.context.path !== name) {
                    widget.close();
                }
            }
            await jupyterapp.commands.execute('docmanager:open', {path: name});
        }""",
        name,
    )
    page.page.wait_for_function(
        "name => jupyterapp.shell.currentWidget?.context?.path === name",
        arg=name,
        timeout=WAIT_MS,
    )
    page.page.locator(".jp-OutputArea-output").first.wait_for(timeout=WAIT_MS)
    watched.touch_everything()
    return page, watched


def test_no_model_name_has_an_effect_in_a_list_or_in_the_panel(
    open_notebook, jupyter, sink, texts, fake_ollama
):
    names = list(dict.fromkeys(text for text in texts.values() if text.strip()))
    fake_ollama.models([{"name": text, "digest": text} for text in names])
    told = "\n".join(names)
    pages = ["license", "template", "system", "parameters", "modelfile"]
    fake_ollama.on("POST /api/show", json_answer(dict.fromkeys(pages, told)))
    statuses = [{"status": text} for text in names]
    fake_ollama.on("POST /api/pull", Answer([*statuses, {"error": told}]))
    setup = SETUP.format(url=fake_ollama.url)
    cells = [
        setup,
        "%ollama list",
        "%ollama pull new:1b",
        "%ollama show x",
    ]
    cells += ["%ollama list zzz", "%ollama panel"]  # fmt: skip
    page, watched = open_watched(open_notebook, jupyter, sink, "names.ipynb", cells)
    for number in range(len(cells) - 1):
        page.run_to_end(number)
    watched.touch_everything()
    assert watched.faults() == []
    fake_ollama.models([{"name": text} for text in some(texts) if text.strip()])
    page.run_to_end(len(cells) - 1)
    panel = page.cell(len(cells) - 1).locator(".jp-OutputArea")
    rows = panel.locator(".ollama-rows").get_by_role("button")
    expect(rows.nth(20)).to_be_visible(timeout=WAIT_MS)
    rows.nth(5).click()
    for button in ("Show", "Copy…", "Delete…"):
        panel.get_by_role("button", name=button, exact=True).click()
    expect(panel).to_contain_text("This can't be undone", timeout=WAIT_MS)
    panel.get_by_placeholder("name of a model").fill("new:1b")
    page.page.keyboard.press("Enter")
    expect(panel).to_contain_text("Pull new:1b", timeout=WAIT_MS)
    panel.get_by_role("button", name="Retry", exact=True).first.wait_for(
        timeout=WAIT_MS
    )
    for number in range(0, rows.count(), 4):
        rows.nth(number).hover()
    watched.touch_everything()
    page.screenshot("hostile-panel")
    assert watched.faults() == []
