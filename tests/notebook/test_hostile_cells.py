"""A hostile server and a real kernel: what a cell shows.

``tests/render/test_hostile.py`` tests each surface alone; this file tests everything
from the bytes on the socket to the messages that a front end gets.
"""

import json
import time
from base64 import b64encode

import corpus
import html5lib
import ipywidgets as widgets
import pytest
from fake_ollama import JSON, Answer, error, json_answer, reply_line
from hostile import hidden, odd_links, quick_violations
from test_model_panel import Driver

from ollama_magic.client.images import png_of
from ollama_magic.render.text import visible_text

pytestmark = pytest.mark.slow

MODEL = "llama3.2:3b"
BODY = {"model": MODEL, "messages": []}
VECTORS = [text for text in corpus.vectors().values() if len(text) <= 600]
MIME_TYPES = {"text/html", "text/plain"}


def batches(size):
    return [
        "\n\n".join(VECTORS[start : start + size])
        for start in range(0, len(VECTORS), size)
    ]


def output_values(ran):
    """Yield everything that a cell sent, as pairs of kind and text."""
    for output in ran.outputs:
        yield from output.get("data", {}).items()
        if output["type"] == "stream":
            yield "text/plain", output["text"].replace("\r", "")
        if output["type"] == "error":
            yield "linked", "\n".join([output["ename"], output["evalue"]])
            yield "linked", "\n".join(output["traceback"])


def violations_of(ran):
    """Return everything that a cell showed and must not show."""
    found = []
    for mime, value in output_values(ran):
        if mime == "text/html":
            found += quick_violations(value, may_be_ours=True)
        elif mime in {"text/plain", "linked"}:
            found += hidden(value) + odd_links(value) * (mime == "linked")
        else:
            found.append(mime)
    return found


@pytest.fixture
def cell(kernel):
    """Return a function that runs a cell and checks all its outputs."""

    def run(code, status="ok", **more):
        ran = kernel.run(code, **more)
        assert ran.status == status, ran
        assert ran.outputs
        assert violations_of(ran) == []
        return ran

    return run


def test_the_check_detects_an_escape(kernel):
    """Of HTML, of other MIME types, of streams and of errors."""
    shown = {
        "from IPython.display import HTML; HTML('<img src=x onerror=y>')",
        "from IPython.display import Markdown; Markdown('x')",
        "from IPython.display import Latex, display; display(Latex('x'))",
        "from IPython.display import SVG; SVG('<svg/>')",
        "from IPython.display import Javascript; Javascript('x')",
        "print('\\x1b[31m')",
        "raise ValueError('\\u202e')",
    }
    for code in shown:
        assert violations_of(kernel.run(code)), code


@pytest.mark.parametrize("view", ["markdown", "text", "html", "json", "code"])
def test_replies_with_and_without_thinking(cell, fake_ollama, view):
    for batch in batches(150):
        fake_ollama.reply([batch[i : i + 50] for i in range(0, len(batch), 50)])
        cell(f"%%ollama --once -f {view}\nHi")
    fake_ollama.reply("x", thinking=" ".join(batches(300)))
    cell("%%ollama --once\nHi")


def model_of(text, number):
    details = dict.fromkeys(["family", "parameter_size", "quantization_level"], text)
    return {
        "name": text,
        "digest": f"{text}{number}",
        "details": {**details, "context_length": 4096},
        "capabilities": ["completion", text],
        "modified_at": text,
        "expires_at": text,
        "size": 1,
        "context_length": 1,
    }


def test_models_that_are_listed_loaded_and_shown(cell, fake_ollama):
    models = [model_of(text, number) for number, text in enumerate(VECTORS)]
    fake_ollama.models(models)
    fake_ollama.on("GET /api/ps", json_answer({"models": models}))
    told = "\n".join(VECTORS)
    names = ["license", "modelfile", "parameters", "template", "system"]
    fake_ollama.on(
        "POST /api/show", json_answer({**dict.fromkeys(names, told), **models[0]})
    )
    fake_ollama.on("GET /api/version", json_answer({"version": told}))
    listed = cell("%ollama list")
    assert listed.html.count("<tr>") == len(VECTORS) + 1
    assert cell("%ollama ps").html.count("<tr>") == len(VECTORS) + 1
    for part in ("", *(f"--{name}" for name in names)):
        cell(f"%ollama show x {part}")
    for command in ("doctor", "config", "version", "", "list nothing"):
        cell(f"%ollama {command}")
    cell("models = %ollama list\nprint(models)\nmodels[0]")


def test_names_of_models_that_reply(cell, fake_ollama):
    """In the footer, in columns, in the repr of the reply and in questions."""
    for text in VECTORS[::25]:
        if not text.isascii() and text != text.encode("utf-8", "replace").decode():
            continue  # a lone surrogate cannot be sent as a model name
        fake_ollama.models([model_of(f"{text}:1b", 0)])
        cell("%%ollama --once\nHi")
        cell("reply = %ollama ask --once Hi\nprint(repr(reply), reply.footer)")


def test_questions_before_something_is_deleted(kernel, fake_ollama):
    names = [text for text in VECTORS[::40] if text.strip()]
    fake_ollama.models([model_of(text, 0) for text in names])
    kernel.answers = ["n"] * len(names) * 2
    for text in names:
        ran = kernel.run(f"get_ipython().run_line_magic('ollama', 'rm ' + {text!r})")
        assert violations_of(ran) == []
        assert [hidden(question) for question in ran.asked] in ([], [[]])
    code = "from ollama_magic.generation.tool_calls import ask_user\n"
    code += "ask_user('a\\x1b]52;c;x\\x07b\\u202e')"
    assert kernel.run(code).asked == ["a␛]52;c;x␇b"]


def test_a_pull_shows_its_statuses(cell, fake_ollama):
    lines = [{"status": text, "digest": text, "total": 10, "completed": 5}
             for text in VECTORS]  # fmt: skip
    fake_ollama.on("POST /api/pull", Answer([*lines, {"status": "success"}]))
    cell("%ollama pull x:1b")
    fake_ollama.on("POST /api/pull", Answer([*lines, {"error": "\n".join(VECTORS)}]))
    cell("%ollama pull x:1b", status="error")


def kinds_of_errors(text):
    yield error(500, text)
    yield error(404, text)
    yield error(400, f"{text} does not support tools")
    yield Answer(
        [text.encode("utf-8", "replace")], status=502, content_type="text/html"
    )
    yield Answer(
        [f"<title>{text}".encode("utf-8", "replace")], content_type="text/html"
    )
    yield Answer([reply_line(BODY, content="a"), {"error": text}])
    yield Answer([reply_line(BODY, content="a"), text.encode("utf-8", "replace")])
    yield Answer([text.encode("utf-8", "replace")], raw=True)


def test_errors_of_all_kinds(cell, fake_ollama):
    for number, text in enumerate(VECTORS[::8]):
        kinds = list(kinds_of_errors(text))
        fake_ollama.on("POST /api/generate", kinds[number % len(kinds)])
        cell("%%ollama --once\nHi", status="error")


def test_tool_calls(cell, kernel, fake_ollama):
    fake_ollama.models([{"name": MODEL, "capabilities": ["completion", "tools"]}])
    kernel.run("def f(**x):\n    'F.'\n    return x\n\ndef g(a: str) -> str:\n"
               "    'G.'\n    return a")  # fmt: skip
    for start in range(0, len(VECTORS), 60):
        some = VECTORS[start : start + 60]
        calls = [
            {"function": {"name": text, "arguments": {text: text}}} for text in some
        ]
        calls += [
            {"function": {"name": "g", "arguments": {"a": text}}} for text in some
        ]
        said = reply_line(BODY, content="\n\n".join(some), tool_calls=calls)
        done = reply_line(BODY, done=True)
        fake_ollama.on(
            "POST /api/chat",
            Answer([said, done]),
            Answer([reply_line(BODY, content="x"), done]),
        )
        cell("%%ollama --new -T g --yes\nHi")


def test_prompts_values_and_chats(cell, kernel, fake_ollama):
    """The names of values that were filled in, prompts in the history, chat names."""
    kernel.run(f"texts = {VECTORS!r}\nd = {{t: t for t in texts}}")
    for start in range(0, 200, 10):
        some = [t for t in VECTORS[start * 5 : start * 5 + 50 : 5] if "}}" not in t]
        prompt = " ".join(
            f"{{{{ d[{text!r}] }}}}" for text in some if "\\" not in repr(text)
        )
        fake_ollama.reply("\n".join(some))
        kernel.run(f"prompt = {prompt!r} + ' ?'")
        cell("get_ipython().run_cell_magic('ollama', '', prompt)")
    cell("%ollama history --all")
    for text in VECTORS[::30]:
        line = (
            f"get_ipython().run_line_magic('ollama', 'chat ' + shlex.quote({text!r}))"
        )
        ran = kernel.run(f"import shlex\n{line}")
        assert violations_of(ran) == [], ran
    cell("%ollama chats")
    cell("%ollama chat main")


def test_an_exported_and_imported_chat_is_the_same(cell, kernel, fake_ollama, tmp_path):
    """Files keep every character; what is shown of them is harmless."""
    for batch in batches(100):
        fake_ollama.reply([batch], thinking=batch)
        kernel.run(f"prompt = {batch!r}")
        cell("get_ipython().run_cell_magic('ollama', '--raw --append', prompt)")
    kept = {}
    for kind in ("json", "md", "ipynb"):
        file = tmp_path / f"chat.{kind}"
        cell(f"%ollama export {file}")
        cell(f"%ollama import {file} -c {kind}")
        cell(f"%ollama chat {kind}")
        cell("%ollama history --all")
        back = tmp_path / f"back-{kind}.json"
        cell(f"%ollama export {back}")
        kept[kind] = [
            (turn["prompt"], turn["reply"])
            for turn in json.loads(back.read_text())["turns"]
        ]
        cell("%ollama chat main")
    assert kept["json"] == kept["md"]
    assert len(kept["json"]) == len(batches(100))
    for output in json.loads((tmp_path / "chat.ipynb").read_text())["cells"]:
        for shown in output["outputs"]:
            assert set(shown["data"]) <= MIME_TYPES
            page = "".join(shown["data"].get("text/html", ""))
            assert quick_violations(page, may_be_ours=True) == []


def test_columns_of_compared_models(cell, fake_ollama):
    fake_ollama.models([MODEL, "b:1b"])
    for batch in batches(200):
        fake_ollama.reply([batch], thinking=batch)
        cell(f"%%ollama --compare {MODEL},b:1b\nHi")
        cell("%ollama keep b:1b")


def test_rows_of_map_prompts(cell, kernel, fake_ollama):
    kernel.run(f"texts = {VECTORS[::10]!r}")
    fake_ollama.reply(["\n".join(VECTORS[:50])])
    code = "from ollama_magic import map_prompts\n"
    cell(f"{code}_rows = map_prompts('{{text}}', texts, model={MODEL!r})")
    fake_ollama.on("POST /api/generate", error(500, "\n".join(VECTORS)))
    ran = kernel.run(
        f"{code}_rows = map_prompts('{{text}} x', texts[:9], model={MODEL!r})"
    )
    assert violations_of(ran) == []


def test_numbers_that_fit_into_no_float_are_no_error(cell, fake_ollama):
    large = 10**400
    model = {**model_of("a:1b", 0), "size": large, "context_length": large}
    fake_ollama.models([model])
    fake_ollama.on("GET /api/tags", json_answer({"models": [model]}))
    fake_ollama.on("GET /api/ps", json_answer({"models": [model]}))
    names = ["total_duration", "load_duration", "prompt_eval_count", "eval_count"]
    done = {**reply_line(BODY, content="Hi", done=True), **dict.fromkeys(names, large)}
    fake_ollama.on("POST /api/chat", Answer([done]))
    lines = [{"status": "x", "digest": "d", "total": large, "completed": large}]
    fake_ollama.on("POST /api/pull", Answer([*lines, {"status": "success"}]))
    for code in ("list", "ps", "pull x:1b", "history", "stats"):
        cell("%%ollama a:1b\nHi")
        cell(f"%ollama {code}")


# -- a small answer has a small effect -------------------------------------------------


def _calls(count):
    call = {"function": {"name": "nobody", "arguments": {}}}
    return Answer([reply_line(BODY, tool_calls=[call] * count, done=True)])


def _drawn(count):
    line = reply_line(BODY, content="")
    line["message"]["images"] = [b64encode(png_of(1, 1, 1, b"a")).decode()]
    return Answer([line] * count + [reply_line(BODY, content="x", done=True)])


def _models(count):
    return Answer(['{"models": [' + "{}," * count + "{}]}"], content_type=JSON)


_TABLE = "|" + "a|" * 1000 + "\n|" + "-|" * 1000 + "\n" + "|x|\n" * 1000
SMALL = {
    # The endpoint, its answer, the cell, the most bytes shown, and the most requests.
    "models": ("GET /api/tags", _models(9000), "%ollama list", 3_000_000, 3),
    "loaded models": ("GET /api/ps", _models(9000), "%ollama ps", 3_000_000, 3),
    "the panel": ("GET /api/tags", _models(9000), "%ollama panel", 3_000_000, 5),
    "calls": ("POST /api/chat", _calls(5000), "%%ollama --new -T f\nx", 500_000, 25),
    "images": ("POST /api/chat", _drawn(5000), "%%ollama --new\nx", 50_000, 6),
    "a table": (
        "POST /api/chat",
        Answer([reply_line(BODY, content=_TABLE, done=True)]),
        "%%ollama --new\nx",
        500_000,
        6,
    ),
}


def test_a_small_answer_of_a_server_has_a_small_effect(kernel, fake_ollama, tmp_path):
    """On output, requests, threads and files; each answer has at most 600 kB."""
    able = {"name": MODEL, "capabilities": ["completion", "tools"]}
    count = "import threading; print(threading.active_count())"
    kernel.run(f"def f(a: str) -> str:\n    return a\n{count}")
    kernel.run("%ollama ps\n%ollama panel")  # starts what stays
    threads = int(kernel.run(count).streams)
    for name, (endpoint, answer, code, most_bytes, most_requests) in SMALL.items():
        fake_ollama.models([able])
        fake_ollama.on("GET /api/tags", json_answer({"models": [able]}))
        fake_ollama.on(endpoint, answer)
        before = len(fake_ollama.requests)
        ran = kernel.run(code)
        assert ran.status == "ok", (name, ran.error)
        assert len(json.dumps(ran.outputs)) <= most_bytes, name
        assert len(fake_ollama.requests) - before <= most_requests, name
    assert int(kernel.run(count).streams) <= threads + 2
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size < 5_000_000


# -- the panel ------------------------------------------------------------------------

CONSTANT = "constant:1b"


def skeleton(page):
    """Return tags and attributes of a page, except titles, which contain text."""
    tree = html5lib.parseFragment(page, namespaceHTMLElements=False)
    return {
        (element.tag, name, value.partition("width:")[0])
        for element in tree.iter()
        if isinstance(element.tag, str)
        for name, value in [("", ""), *element.attrib.items()]
        if name != "title"
    }


def open_everything(driver, model):
    """Open everything that the panel has for a model, and return the driver."""
    driver.select(visible_text(model))
    for text in ("Show", "Copy…", "Delete…"):
        driver.click(text)
        yield from everything(driver.panel)


def everything(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from everything(child)


def test_the_panel_shows_only_text(fake_ollama):
    harmless = set()
    for texts in ([CONSTANT], VECTORS):
        told = "\n".join(texts)
        fake_ollama.models([model_of(text, n) for n, text in enumerate(texts)])
        fake_ollama.on("GET /api/version", json_answer({"version": told}))
        shown = dict.fromkeys(["license", "template", "system"], told)
        fake_ollama.on(
            "POST /api/show", json_answer({**shown, **model_of(texts[0], 0)})
        )
        statuses = [{"status": text} for text in texts]
        fake_ollama.on("POST /api/pull", Answer([*statuses, {"error": told}]))
        driver = Driver(fake_ollama.url)
        driver.wait(lambda driver=driver: driver.manager.server.state == "online")
        driver.pull("new:1b").wait(lambda driver=driver: any(
            job.state == "failed" for job in driver.manager.jobs))  # fmt: skip
        seen = list(everything(driver.panel))
        seen += open_everything(driver, texts[0])
        for widget in seen:
            assert not isinstance(widget, (widgets.Label, widgets.HTMLMath))
            assert not getattr(widget, "description_allow_html", False)
            value = getattr(widget, "value", "")
            assert hidden(value if isinstance(value, str) else "") == []
            assert hidden(getattr(widget, "description", "")) == []
            for trait in ("options", "tooltips"):
                assert hidden("".join(getattr(widget, trait, ()))) == []
            if isinstance(widget, widgets.HTML):
                page = skeleton(value)
                if texts is VECTORS:
                    assert page <= harmless
                harmless |= page
        assert hidden(repr(driver.panel.summary())) == []
        summary = driver.panel.summary()._repr_mimebundle_()
        assert quick_violations(summary["text/html"], may_be_ours=True) == []
        driver.panel.close()


def test_names_with_hidden_characters_are_not_completed(kernel, fake_ollama):
    """Tab inserts only visible text on one line."""
    fake_ollama.models([model_of(f"m{text}", n) for n, text in enumerate(VECTORS)])
    kernel.run("pass")
    deadline, matches = time.monotonic() + 30, []
    while not matches and time.monotonic() < deadline:  # Tab does not wait for a list
        kernel.client.complete("%ollama show m", 14)
        matches = kernel.client.get_shell_msg(timeout=30)["content"]["matches"]
    assert len(matches) > 100
    assert all(match.isprintable() and not hidden(match) for match in matches)
