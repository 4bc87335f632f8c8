"""A complete reply as the one output of its cell: a MIME bundle.

``generation`` and ``columns`` call this module. The bundle shows the tool calls before
the answer, the thinking, the answer, a notice and the footer, and never has
``text/markdown``: JupyterLab does not sanitise that in a cell that the user ran.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

from ollama_magic.client.images import Image
from ollama_magic.client.logprobs import NO_LOGPROBS, Logprobs
from ollama_magic.render.code import LABEL_STYLE, CodeBlock, code_blocks
from ollama_magic.render.logprobs import logprobs_html, sureness, without_logprobs
from ollama_magic.render.safe_html import (
    NOTE_STYLE,
    SHORTENED_NOTE,
    code_page_html,
    details_html,
    fence_html,
    json_html,
    markdown_html,
    note_html,
    page_html,
    plain_html,
    raw_html,
    shown_parts,
    text_html,
    thinking_html,
    within_budget,
)
from ollama_magic.render.sources import sources_fact, sources_html
from ollama_magic.render.text import (
    count_invisible,
    counted,
    escaped,
    escaped_invisible,
    language_of,
    one_line,
    visible_text,
)
from ollama_magic.render.theme import WARNING, with_style

_NOTICE_STYLE = f"border-left:3px solid {WARNING};margin:.5em 0;padding:0 .8em"
_FOOTER_STYLE = f"{NOTE_STYLE}margin-top:.5em"
_BAR_STYLE = (
    "border:1px solid;border-radius:2px;display:inline-block;height:.6em;"
    "margin-left:.6em;width:6em"
)
_FULL_STYLE = "background:currentColor;display:block;height:100%;width:{percent}%"
_INNER_STYLE = "font-size:118%"  # folds in a fold are as small as the fold itself
_STYLES = frozenset(
    [
        _INNER_STYLE,
        _NOTICE_STYLE,
        _FOOTER_STYLE,
        _BAR_STYLE,
        *(_FULL_STYLE.format(percent=percent) for percent in range(101)),
    ]
)
_LABEL_AT_END = re.compile(f'<div style="{LABEL_STYLE}">[^<]*</div>\\Z')
_IMAGE = (
    '<img alt="image by the model" src="data:image/png;base64,{data}" '
    'style="max-width:100%">'
)
_IMAGES = re.compile(re.escape(_IMAGE).replace(r"\{data\}", "[A-Za-z0-9+/=]*"))
_BAR_FROM = 0.5
"""Share of the context from which the footer shows a bar."""


@dataclass(frozen=True)
class ReplyView:
    """What is shown of a reply; ``generation.reply.Reply`` adds what it is made of."""

    text: str
    """The reply, Markdown as the model wrote it, without thinking."""
    thinking: str = ""
    """The thinking; empty if there is none."""
    thinking_s: float = 0.0
    """How long the model thought, in seconds; 0 if unknown."""
    view: str = "markdown"
    """How the text is shown: a value of ``-f``."""
    footer: tuple[str, ...] = ()
    """Parts of the small line under the answer."""
    context_share: float | None = None
    """Share of the context in use; shown as a bar if it is more than half."""
    notice: str = ""
    """Why the answer ended early, or another warning; one line or more."""
    steps: tuple[Mapping[str, Any], ...] = ()
    """Messages before the answer: tool calls and their results."""
    hides_thinking: bool = False
    """Whether the thinking is not shown."""
    facts: tuple[str, ...] = ()
    """Parts of the footer that front ends without HTML show too."""
    folded: tuple[CodeBlock, ...] = ()
    """The code that the cell below has too."""
    images: tuple[bytes, ...] = ()
    """The images that the model drew, as PNG files."""
    logprobs: Logprobs = NO_LOGPROBS
    """The tokens of the text with their log probabilities, if they were requested."""

    @property
    def shown_thinking(self) -> str:
        """The thinking as far as it is shown."""
        return "" if self.hides_thinking else self.thinking


def reply_bundle(view: ReplyView) -> dict[str, str]:
    """Return ``text/html`` and ``text/plain`` of a reply."""
    notice, thinking = visible_text(view.notice).strip(), view.shown_thinking
    parts = [
        steps_html(view.steps, thinking, view.thinking_s),
        _answer_html(view.text, view.view, view.folded),
        sources_html(view.steps),
        _notice_html(notice) if notice else "",
    ]
    ends = [logprobs_html(view.logprobs), _footer_html(view)]
    if not view.logprobs:  # else they would use up the budget of the text
        parts, ends = [*parts, *ends], []
    plain = output_text(view)
    source = "\n\n".join(filter(None, [_steps_json(view.steps), thinking, plain]))
    page = within_budget(parts, source) + "".join(ends)
    images = (_IMAGE.format(data=b64encode(png).decode()) for png in view.images)
    return {"text/html": with_style("".join([*images, page])), "text/plain": plain}


def reply_plain(view: ReplyView) -> str:
    """Return the source text of a reply, followed by its notice."""
    text, notice = visible_text(view.text), visible_text(view.notice).strip()
    return f"{text}\n\n{notice}" if notice else text


def plain_footer(view: ReplyView) -> tuple[str, ...]:
    """Return the parts of the footer where a reply is shown as text."""
    return (sureness(view.logprobs), *view.footer) if view.logprobs else view.footer


def output_text(view: ReplyView) -> str:
    """Return ``reply_plain``, and on a line the facts that only the HTML would show.

    These are calls that were not made or failed, and ``view.facts``. The line is part
    of the notice, which ``restore`` tells from the reply.
    """
    calls = [
        _title(call, call.result)
        for call in tool_steps(view.steps)
        if call.result and call.result.get("outcome") in _OUTCOMES
    ]
    if len(calls) > _MAX_CALLS_IN_TEXT:
        calls[_MAX_CALLS_IN_TEXT:] = [f"and {len(calls) - _MAX_CALLS_IN_TEXT} more"]
    images = [f"image: {Image(png).describe()}" for png in view.images]
    shown = [*images, *calls, sources_fact(view.steps) if view.steps else ""]
    shown += [sureness(view.logprobs)] if view.logprobs else []
    facts = one_line(" · ".join(filter(None, [*shown, *view.facts])))
    plain = reply_plain(view)
    gap = "\n" if view.notice.strip() else "\n\n"
    return f"{plain}{gap}[{facts}]" if facts else plain


def shows_reply(
    page: str, text: str, view: str, folded: Sequence[CodeBlock] = ()
) -> bool:
    """Return whether the ``text/html`` of an output shows a reply, in that view.

    What is folded is not shown.

    Text is compared, not markup, since the colours of code depend on Pygments. A page
    that is not as this package makes it shows nothing for certain.
    """
    parts = shown_parts(_IMAGES.sub("", without_logprobs(page)), _STYLES)
    expected = shown_parts(_answer_html(text, view, folded), _STYLES)
    if parts is None or expected is None:
        return False
    starts = range(len(parts) - len(expected) + 1)
    if any(parts[at : at + len(expected)] == expected for at in starts):
        return True
    is_shortened = parts[0] == "".join(SHORTENED_NOTE.split())
    return is_shortened and "".join(visible_text(text).split()) in parts[1]


def text_in_view(text: str, view: str) -> str:
    """Return what a view shows of a reply; ``code`` and ``html`` leave parts out."""
    if view == "html":
        page = _rendered_html(text)
        return page[page.index(">") + 1 :].removesuffix("</div>")
    if view != "code" or not (blocks := code_blocks(text)):
        return text
    fences = [f"```{one.language}\n{one.source.rstrip()}\n```" for one in blocks]
    is_whole = "".join(text.split()) == "".join("".join(fences).split())
    return text if is_whole else "\n\n".join(fences)


def _answer_html(text: str, view: str, folded: Sequence[CodeBlock] = ()) -> str:
    if view == "markdown":
        return _with_folds(markdown_html(text), folded)
    return _VIEWS.get(view, text_html)(text)


def _with_folds(page: str, blocks: Sequence[CodeBlock]) -> str:
    """Fold code under a line that says how long it is."""
    made: list[str] = []
    for block in blocks:
        code = fence_html(block.source.removesuffix("\n"), block.language)
        before, found, rest = page.partition(code)
        if not found:  # it is shown in another way
            break
        size = counted(len(block.source.strip().splitlines()), "line")
        language = (language_of(block.language) or "python").capitalize()
        title = f"{size} of {language}, in the cell below"
        made += [_LABEL_AT_END.sub("", before), details_html(title, code)]
        page = rest
    return "".join([*made, page])


def _code_only_html(text: str) -> str:
    """Return the code blocks of a reply; a reply without any is taken as code."""
    blocks = code_blocks(text) or (CodeBlock("python", text.strip("\n")),)
    parts = (code_page_html(block.source, block.language) for block in blocks)
    return within_budget(parts, text)


def _rendered_html(text: str) -> str:
    """Return the HTML in a reply as a sanitised page."""
    found = [b.source for b in code_blocks(text) if b.language.lower() == "html"]
    return raw_html("\n".join(found) or text)


_VIEWS = {"json": json_html, "code": _code_only_html, "html": _rendered_html}


def _notice_html(notice: str) -> str:
    lines = "<br>".join(map(escaped, notice.splitlines()))
    return page_html(f'<div style="{_NOTICE_STYLE}">{lines}</div>')


def _footer_html(view: ReplyView) -> str:
    parts = list(view.footer)
    if removed := count_invisible(view.text):
        parts.append(f"{counted(removed, 'invisible character')} removed")
    if not parts:
        return ""
    share = view.context_share or 0.0
    bar = _bar_html(share) if share > _BAR_FROM else ""
    line = escaped(one_line(" · ".join(parts)))
    return page_html(f'<div style="{_FOOTER_STYLE}">{line}{bar}</div>')


def _bar_html(share: float) -> str:
    percent = round(100 * min(share, 1.0))
    full = f'<span style="{_FULL_STYLE.format(percent=percent)}"></span>'
    return f'<span style="{_BAR_STYLE}">{full}</span>'


# -- the tool calls before the answer ----------------------------------------------

# Each call is folded under a line that says how it ended, with its arguments and its
# result. A call that waits for confirmation is unfolded, so that the user sees all of
# it before allowing it.

Step = Mapping[str, Any]
"""A message of the chat: the model's, or the result of a tool."""

_MAX_CALLS_IN_TEXT = 5
_MAX_LINE = 100
_MAX_LINE_BESIDE_RESULT = 60
_MAX_INDENTED_DEPTH = 10
"""Deeper arguments stay on one line: each value would need a line of spaces."""
_MAX_LIVE = 50_000
"""Characters of HTML; earlier calls are not sent again with each later one."""

_TITLES = {
    "called": "called {call}",
    "failed": "{call} failed: {result}",
    "invalid": "{call} was not called: {result}",
    "declined": "declined {call}",
    "refused": "declined {call}: no one to confirm it",
    "interrupted": "stopped in {call}",
    "skipped": "stopped before {call}",
}
_TITLE_WITHOUT_OUTCOME = "requested {call}"  # in records of older versions

_OUTCOMES = {
    "failed": "failed: {result}",
    "invalid": "not called: {result}",
    "declined": "declined",
    "refused": "declined: no one to confirm it",
    "interrupted": "stopped during the call",
    "skipped": "stopped before the call",
}
"""What a terminal shows under a call; for other outcomes, the result itself."""


@dataclass(frozen=True, slots=True)
class ToolStep:
    """A tool call of a model, and the message with its result."""

    function: Mapping[str, Any]
    result: Step | None
    """None while the call waits for confirmation, or runs."""

    @property
    def arguments(self) -> str:
        """The arguments as JSON; invisible characters are escapes."""
        return self.arguments_json()

    def arguments_json(self, indent: int | None = None) -> str:
        """Return the arguments as JSON, perhaps with a line for each value."""
        arguments = self.function["arguments"]
        made = json.dumps(arguments, ensure_ascii=False, indent=indent)
        return escaped_invisible(made)


@dataclass(frozen=True, slots=True)
class _TextStep:
    """What a model thought or wrote before its tool calls."""

    text: str
    thought_s: float | None = None  # None if it is not thinking; 0 if unknown


def steps_html(steps: Sequence[Step], thinking: str = "", took_s: float = 0) -> str:
    """Return the safe HTML of all before the answer; adjacent folds become one."""
    last = [_TextStep(thinking, took_s)] if thinking else []
    html = ""
    for is_fold, group in groupby([*_parts(steps), *last], _is_fold):
        parts = list(group)
        page = "".join(map(_part_html, parts))
        html += _one_fold(parts, page) if is_fold and len(parts) > 1 else page
    return html


def _one_fold(parts: Sequence[_TextStep | ToolStep], page: str) -> str:
    """Return one fold around several, titled like ``Thought · called f {"a": 1}``."""
    calls = [part for part in parts if isinstance(part, ToolStep)]
    titles = ["Thought"] * (len(calls) < len(parts))
    titles += [_title(call, call.result) for call in calls if call.result]
    title = _shortened(" · ".join(titles), 2 * _MAX_LINE)
    return details_html(title, f'<div style="{_INNER_STYLE}">{page}</div>')


def live_steps_html(steps: Sequence[Step]) -> str:
    """Return the last steps as safe HTML while more may follow.

    The last one is the call that waits for its result: the user may be asked about it,
    and no later call of the same message takes its place.
    """
    shown: list[str] = []
    size = 0
    parts: list[_TextStep | ToolStep] = []
    for part in _parts(steps):
        parts.append(part)
        if isinstance(part, ToolStep) and part.result is None:
            break
    while parts and size < _MAX_LIVE:
        html = _part_html(parts.pop())
        size += len(html)
        shown.append(html)
    if parts:
        shown.append(note_html(f"… {len(parts):,} earlier steps (shown at the end)"))
    return "".join(reversed(shown))


def tool_steps(steps: Sequence[Step]) -> list[ToolStep]:
    """Return the tool calls among steps, in order."""
    return [part for part in _parts(steps) if isinstance(part, ToolStep)]


def call_lines(call: ToolStep) -> list[str]:
    """Return a call as lines of text: the call, then its result."""
    lines = [f"{call.function['name']} {call.arguments}"]
    if call.result is not None:
        result = _shortened(call.result["content"])
        outcome = _OUTCOMES.get(call.result.get("outcome", ""), "{result}")
        lines.append(f"-> {outcome.format(result=result)}")
    return [visible_text(line) for line in lines]


def steps_text(steps: Sequence[Step]) -> str:
    """Return steps as lines of text."""
    return "\n".join(line for call in tool_steps(steps) for line in call_lines(call))


def _steps_json(steps: Sequence[Step]) -> str:
    return json.dumps(list(steps), ensure_ascii=False) if steps else ""


def _parts(steps: Sequence[Step]) -> Iterator[_TextStep | ToolStep]:
    """Yield what each message of the model holds, its calls with their results."""
    messages: list[tuple[Step, list[Step]]] = []
    for step in steps:
        if step["role"] == "assistant":
            messages.append((step, []))
        elif messages:
            messages[-1][1].append(step)
    for message, results in messages:
        if message.get("thinking"):
            yield _TextStep(message["thinking"], 0.0)
        if message.get("content"):
            yield _TextStep(message["content"])
        for index, call in enumerate(message.get("tool_calls", ())):
            result = results[index] if index < len(results) else None
            yield ToolStep(call["function"], result)


def _is_fold(part: _TextStep | ToolStep) -> bool:
    return isinstance(part, ToolStep) or part.thought_s is not None


def _part_html(part: _TextStep | ToolStep) -> str:
    if isinstance(part, ToolStep):
        return _call_html(part)
    if part.thought_s is None:
        return markdown_html(part.text)
    return thinking_html(part.text, part.thought_s)


def _call_html(call: ToolStep) -> str:
    arguments = json_html(_indented(call))
    if call.result is None:
        title = f"wants to call {call.function['name']}"
        return details_html(title, arguments, is_open=True)
    result = plain_html(call.result["content"])
    return details_html(_title(call, call.result), arguments + result)


def _indented(call: ToolStep) -> str:
    line = call.arguments
    steps = (1 if mark in "[{" else -1 for mark in line if mark in "[{]}")
    if max(accumulate(steps), default=0) > _MAX_INDENTED_DEPTH:
        return line
    return call.arguments_json(indent=2)


def _title(call: ToolStep, result: Step) -> str:
    title = _TITLES.get(result.get("outcome", ""), _TITLE_WITHOUT_OUTCOME)
    limit = _MAX_LINE_BESIDE_RESULT if "{result}" in title else _MAX_LINE
    line = _shortened(f"{call.function['name']} {call.arguments}", limit)
    return title.format(call=line, result=_shortened(result["content"]))


def _shortened(text: str, limit: int = _MAX_LINE) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
