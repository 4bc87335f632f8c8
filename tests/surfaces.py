"""Every place where a text of a model or a server is shown, as a function of the text.

A surface yields what a front end or a terminal would receive, as pairs of kind and
value. ``html`` may have our own markup around the text; ``panel`` is HTML in which only
the text varies; ``text`` is plain text; ``linked`` is plain text in which front ends
turn addresses into links; ``repr`` is a Python repr; ``terminal`` is written to one.
"""

from base64 import b64encode
from contextlib import suppress
from types import SimpleNamespace
from typing import get_args

from ollama_magic import errors
from ollama_magic.batch.results import RowProgress
from ollama_magic.client.decisions import Answer, Choice, Score
from ollama_magic.client.host import parse_host
from ollama_magic.client.logprobs import Logprobs, TokenLogprob
from ollama_magic.client.models import LoadedModel, ModelDetails, ModelSummary
from ollama_magic.client.ollama_com import (
    Balance,
    CloudUsage,
    Quota,
    SearchResult,
    UsageBucket,
    WebPage,
)
from ollama_magic.client.progress import TransferProgress
from ollama_magic.client.registry import ModelUpdate, State
from ollama_magic.client.server_errors import (
    RequestInfo,
    not_ollama,
    redirected,
    response_error,
    server_error,
)
from ollama_magic.client.types import Progress, ReplyChunk
from ollama_magic.errors import OllamaMagicError, quoted
from ollama_magic.generation.decisions import Decision
from ollama_magic.generation.response import Response, Result
from ollama_magic.generation.web import COLUMNS
from ollama_magic.history.usage import Usage
from ollama_magic.notebook.commands.chats import preview
from ollama_magic.notebook.commands.stats import UsageStats
from ollama_magic.notebook.completion.inspection import Inspector
from ollama_magic.notebook.completion.lines import LineCompleter
from ollama_magic.notebook.greeting import greeting_line
from ollama_magic.render import panel_html
from ollama_magic.render.columns import (
    Column,
    ColumnsDisplay,
    TerminalColumns,
    columns_bundle,
)
from ollama_magic.render.listings import (
    LOADED_COLUMNS,
    MODEL_COLUMNS,
    ModelPage,
    UsageListing,
    list_updates,
    overview,
    pull_plan,
)
from ollama_magic.render.output import NotebookProgress, TerminalProgress
from ollama_magic.render.reply import ReplyView, live_steps_html, reply_bundle
from ollama_magic.render.safe_html import note_html
from ollama_magic.render.sources import link_html, results_html
from ollama_magic.render.streaming import StreamDisplay
from ollama_magic.render.tables import Listing, TextPage, facts_page
from ollama_magic.render.terminal import DIM, NORMAL, TerminalDisplay

VIEWS = ("markdown", "text", "html", "code", "json")


class Published:
    """Records what a front end receives; its clock advances each time it is read."""

    def __init__(self):
        self.bundles = []
        self.now_s = 0.0

    def publish(self, data, metadata=None, *, transient=None, update=False):
        self.bundles.append(dict(data))

    def clear_output(self, wait=False):
        pass

    def clock(self):
        self.now_s += 10.0
        return self.now_s

    def shown(self):
        for bundle in self.bundles:
            yield from bundle_parts(bundle)


def bundle_parts(bundle):
    for mime, value in bundle.items():
        yield {"text/html": "html", "text/plain": "text"}.get(mime, mime), value


def reply(**fields):
    return bundle_parts(reply_bundle(ReplyView(**{"text": ""} | fields)))


def answer_as(view):
    return lambda text: reply(text=text, view=view)


def thinking(text):
    yield from reply(thinking=text, thinking_s=3)


def notice(text):
    yield from reply(notice=text)


def footer(text):
    yield from reply(footer=(text, f"turn 1 of {text}"), context_share=0.7)


def shaded(text):
    """Show a text as tokens: as one, as its characters, and as its bytes."""
    data = text.encode("utf-8", "replace")[:300]
    parts = [text], text[:100], [bytes([byte]) for byte in data]
    for tokens in parts:
        made = []
        for one in tokens:
            is_text = isinstance(one, str)
            told = one if is_text else "?"
            top = (TokenLogprob(text, -1.0), TokenLogprob(told, -2.0))
            made.append(TokenLogprob(told, -1.5, () if is_text else tuple(one), top))
        yield from reply(text=text, logprobs=Logprobs(made))


def decided(text):
    """Show questions, labels and levels, as a decision and as an estimate."""
    label, other = f"{text} a", f"{text} b"
    questions = {
        f"{text} c": Choice({label: text, other: None}, f"{text}?"),
        f"{text} s": Score([label, other]),
    }
    answers = {
        name: Answer(value, {label: 0.9, other: 0.1}, 0.5, (other,))
        for name, value in zip(questions, (label, 0.1), strict=True)
    }
    shown = Decision(
        answers=answers, questions=questions, model=text, footer=(text,), provenance={}
    )
    yield from bundle_parts(shown.bundle())
    yield "text", repr(shown)


def called(text):
    """Show names, arguments and results of tool calls, and the text before them."""
    steps = (
        {
            "role": "assistant",
            "content": text,
            "thinking": text,
            "tool_calls": [{"function": {"name": text, "arguments": {text: [text]}}}],
        },
        {"role": "tool", "content": text, "tool_name": text},
    )
    yield from reply(steps=steps)
    failed = {**steps[1], "outcome": "failed"}
    yield from reply(steps=(steps[0], failed))
    yield from reply(steps=({**steps[0], "content": ""}, failed), thinking=text)
    yield from reply(steps=steps[:1])  # before the call is allowed
    yield "html", live_steps_html(steps[:1])


def from_the_web(text):
    """Show the sources of a reply, search results, and a page."""
    urls = (text, f"https://{text}/", f"https://x.example/{text}")
    sources = [{"title": text, "url": url} for url in urls]
    step = {"role": "tool", "content": text, "tool_name": "web_search"}
    yield from reply(steps=({**step, "sources": sources},))
    found = [SearchResult(text, url, text) for url in urls]
    listed = Listing(found, COLUMNS, "", page=results_html(found))
    yield from bundle_parts(listed._repr_mimebundle_())
    yield "repr", repr(WebPage(text, text, text))
    yield from (("html", link_html(text, url)) for url in urls)
    written = []
    view = ReplyView("", steps=({**step, "sources": sources},))
    TerminalDisplay(written.append, is_tty=True).finish_reply(view, {})
    yield "terminal", "".join(written)


def account(text):
    """Show the balance and the use of an account."""
    bucket = UsageBucket(starts=text, ends=text, request_count=1)
    used = CloudUsage(text, text, bucket, (bucket,))
    balance = Balance(1, 2, text, 3, (Quota("weekly", 1, text),))
    yield from bundle_parts(UsageListing(balance, used)._repr_mimebundle_())


def drawn(text):
    """Show what a model calls an image: base64 or not, with a signature or not."""
    data = text.encode("utf-8", "replace")
    encoded = [b64encode(one).decode() for one in (data, b"\x89PNG\r\n" + data)]
    for image in (text, *encoded):
        response = Response()
        response.read([ReplyChunk(images=(image,))])
        images = tuple(one.data for one in response.images)
        yield from reply(images=images, notice=Result((), (response,)).notice())


def columns(text):
    view = ReplyView(text, thinking=text, notice=text, footer=(text,))
    yield from bundle_parts(columns_bundle([Column(text, view)] * 2, note=text))


def live_columns(text):
    page = Published()
    display = ColumnsDisplay(
        page.publish, page.clear_output, mode="clear", clock=page.clock
    )
    display.waiting(text)
    display.begin([text, "b"])
    display.waits(0, text)
    display.tick()
    display.feed(0, "", text)
    display.tick()
    display.feed(1, text)
    display.feed(0, text)
    display.tick()
    display.complete(0, Column(text, ReplyView(text)))
    display.tick()
    yield from page.shown()


def while_waiting(text):
    page = Published()
    display = StreamDisplay(
        page.publish, page.clear_output, mode="update", clock=page.clock
    )
    display.waiting(text)
    display.feed("", text)
    display.feed("a")
    yield from page.shown()


def progress(text):
    page = Published()
    line = NotebookProgress(page.publish, page.clear_output, mode="repeat")
    line.show(text, 0.3)
    line.finish(text)
    yield from page.shown()


def pulling(text):
    """Show the status lines of a pull, with and without a size."""
    transfer = TransferProgress()
    for more in ({}, {"digest": text, "total": 10, "completed": 5}):
        transfer.add(Progress.from_json({"status": text, **more}))
        yield from progress(f"m: {transfer.line()}")


def mapped(text):
    rows = RowProgress(text, 3, note=text)
    yield from progress(rows.line())
    yield from progress(rows.last_line(text))


def page(text):
    shown = TextPage(text)
    yield from bundle_parts(shown._repr_mimebundle_()[0])
    yield "text", repr(shown)


def facts(text):
    shown = facts_page([(text, text), ("Model", text)])
    yield from bundle_parts(shown._repr_mimebundle_()[0])
    yield "text", repr(shown)


def previews(text):
    """Show the beginnings of prompts and replies, as the history does."""
    listing = Listing([text], {"Prompt": preview}, "")
    yield from bundle_parts(listing._repr_mimebundle_())
    yield "text", repr(listing)


def details(text):
    """Show all pages of a model's details."""
    names = ["license", "modelfile", "parameters", "template", "system"]
    more = ["renderer", "parser", "template_source", "requires", "modified_at"]
    told = ModelDetails.from_json(
        {
            **dict.fromkeys(names + more, text),
            "messages": [{"role": text, "content": text}],
            "projector_info": {text: [text]},
            "tensors": [{"name": text, "type": text, "shape": [text]}],
            "details": {"family": text, "parameter_size": text},
            "model_info": {"general.architecture": text},
            "capabilities": [text],
            "thinking": {"values": [text], "default": text},
        }
    )
    whole = overview(text, told, verbose=True)
    for shown in (whole, *(getattr(told, name) for name in names)):
        yield from page(shown)
        yield from bundle_parts(ModelPage(shown, details=told)._repr_mimebundle_()[0])
    yield "repr", repr(told)


def completions(text):
    """Show a model in the popup of Tab and in that of Shift+Tab."""
    facts = dict.fromkeys(["name", "parameter_size", "family", "modified_at"], text)
    model = ModelSummary(**facts, capabilities=("completion", text), remote_host=text)
    named = lambda: [(text, text)]  # noqa: E731
    sources = SimpleNamespace(chats=named, templates=named, compared=lambda: [text])
    completer = LineCompleter(lambda _: [model], sources)
    for line in ("%%ollama ", "%ollama show ", "%ollama chat ", "%ollama keep "):
        for entry in completer.complete(line).entries:
            yield "text", entry.text
            yield "text", entry.type
    line = f"%ollama show {text}".partition("\n")[0]
    yield "text", Inspector(completer).page(line, len(line))


def listings(text):
    model = {
        "name": text,
        "digest": text,
        "modified_at": text,
        "expires_at": text,
        "details": dict.fromkeys(["family", "parameter_size", "format"], text),
        "capabilities": [text],
        "remote_host": text,
    }
    model["details"]["quantization_level"] = text
    for cls, shape in ((ModelSummary, MODEL_COLUMNS), (LoadedModel, LOADED_COLUMNS)):
        row = cls.from_json(model)
        for rows in ([row], []):
            listing = Listing(rows, shape, f"nothing has {text}", note=text)
            yield from bundle_parts(listing._repr_mimebundle_())
            yield "text", repr(listing)
        yield "repr", repr(row)
    for state in get_args(State):
        update = ModelUpdate(text, state, text, text, text)
        listing = list_updates([update], text)
        yield from bundle_parts(listing._repr_mimebundle_())
        yield "text", repr(listing)
        yield from progress(pull_plan([update]))
    used = UsageStats([Usage(text, text, prompt_tokens=5)], text, text)
    yield from bundle_parts(used._repr_mimebundle_())
    yield "text", repr(used)


def panel(text):
    row = panel_html.TableRow(
        text, (text,), True, text, 0.5, text, 0.5, (text,), text, text
    )
    yield "panel", panel_html.model_table_html([row])
    yield "panel", panel_html.selection_html("x", [], text)
    yield "panel", panel_html.line_html(text, is_strong=True)
    yield "panel", panel_html.notice_html([text, text])
    yield "panel", panel_html.text_box_html(text)


def small_line(text):
    yield "html", note_html(text)


def terminal(text):
    """Write a reply to a terminal, in one piece and in pieces of one character."""
    for step in (1, len(text) or 1):
        written = []
        display = TerminalDisplay(written.append, is_tty=True)
        display.waiting(text)
        for start in range(0, len(text), step):
            display.feed("", text[start : start + step])
        for start in range(0, len(text), step):
            display.feed(text[start : start + step])
        call = {"function": {"name": text, "arguments": {text: text}}}
        display.again([{"role": "assistant", "content": "", "tool_calls": [call]}])
        display.finish({"text/plain": text}, {}, (text,))
        yield "terminal", "".join(written)


def terminal_lines(text):
    for is_tty in (True, False):
        written = []
        display = TerminalColumns(written.append, is_tty=is_tty)
        display.begin([text, text])
        display.tick()
        view = ReplyView(text, notice=text, footer=(text,))
        display.complete(0, Column(text, view))
        line = TerminalProgress(written.append, is_tty=is_tty)
        line.show(text, 0.5)
        line.finish(text)
        yield "terminal", "".join(written)


def error_texts(text):
    """Errors of all kinds, as they are shown in a cell, in a notice and as text."""
    body = text.encode("utf-8", "replace")
    attempt = RequestInfo("http://127.0.0.1:11434", "chat", text)
    made = [
        server_error(attempt, text),
        server_error(RequestInfo("http://127.0.0.1:11434", "pull", text), text),
        response_error(attempt, 404, b'{"error": "x"}', installed=[text, text + "b"]),
        response_error(attempt, 500, body, content_type="text/html"),
        response_error(attempt, 401, body),
        not_ollama(attempt, 200, f"<title>{text}", text),
        redirected(attempt, text),
        redirected(attempt, f"http://{text}/"),
        *(
            getattr(errors, name)(text, why=text, next_step=text)
            for name in ("ConfigError", "PromptError", "StreamInterruptedError")
        ),
    ]
    with suppress(OllamaMagicError):
        made.append(OllamaMagicError(parse_host(text).base_url))
    for error in made:
        yield "linked", "\n".join(error._render_traceback_())
        yield "linked", str(error)
    yield from reply(notice="\n".join(made[0]._render_traceback_()))
    yield "linked", quoted(text)


def greeting(text):
    """Show what ``%load_ext`` says about a server."""
    yield "linked", greeting_line(text, 2, text)


SURFACES = {
    **{f"answer as {view}": answer_as(view) for view in VIEWS},
    "thinking": thinking,
    "notice": notice,
    "footer": footer,
    "tokens by probability": shaded,
    "decisions": decided,
    "functions called": called,
    "images drawn": drawn,
    "from the web": from_the_web,
    "account": account,
    "columns": columns,
    "live columns": live_columns,
    "while it waits": while_waiting,
    "progress": progress,
    "pulling": pulling,
    "rows that are mapped": mapped,
    "page": page,
    "details of a model": details,
    "completions": completions,
    "listings": listings,
    "facts": facts,
    "previews": previews,
    "panel": panel,
    "small line": small_line,
    "terminal": terminal,
    "lines of a terminal": terminal_lines,
    "errors": error_texts,
    "greeting": greeting,
}


def without_our_control_codes(written):
    """Return terminal output without the control codes that we write."""
    for ours in (DIM, NORMAL, "\r"):
        written = written.replace(ours, "")
    return written
