"""``--cells``, ``--above``, ``--outputs``: what is sent, and what the footer names."""

import base64
import json
import re
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import IPython
import pytest
from examples import examples
from fake_ollama import FakeOllama
from hypothesis import event, given
from hypothesis import strategies as st
from test_images_in_cells import PNG, SEES

from ollama_magic.errors import PromptError
from ollama_magic.generation.dry_run import request_text
from ollama_magic.generation.front_end import NoCells, NoDisplay
from ollama_magic.generation.notebook_cells import (
    MAX_CHARACTERS,
    CellOutput,
    Excerpt,
    NotebookCell,
    shortened,
    with_cells,
)
from ollama_magic.generation.options import ChatOptions
from ollama_magic.generation.run import ask
from ollama_magic.generation.session import Session
from ollama_magic.generation.settings import Settings
from ollama_magic.history.page import Page
from ollama_magic.history.turns import Turn
from ollama_magic.notebook.cell_outputs import saved_outputs, text_output
from ollama_magic.notebook.past_cells import RunCells

RECORDS_STREAMS = IPython.version_info[0] >= 9
NOTE = re.compile(r"with [^·<]*characters[^·<]*")


def asked(fake_ollama):
    return fake_ollama.bodies("/api/chat")[-1]["messages"][-1]


def note_of(ran):
    return NOTE.search(ran.html)[0].strip()


def save(path, *cells):
    """Write a notebook file of (id, kind, source, execution count, outputs)."""
    found = [
        {
            "id": name,
            "cell_type": kind,
            "source": source.splitlines(keepends=True),
            "execution_count": number,
            "outputs": list(outputs),
        }
        for name, kind, source, number, *outputs in cells
    ]
    content = {"nbformat": 4, "nbformat_minor": 5, "cells": found}
    path.write_text(json.dumps(content))


def stream(text):
    return {"output_type": "stream", "name": "stdout", "text": text}


# -- in a real kernel ------------------------------------------------------------


def test_chosen_cells_are_sent_as_they_ran_with_what_they_showed(
    kernel, fake_ollama, tmp_path
):
    fake_ollama.models([SEES])
    first = kernel.run("x = 6 * 7\nprint('printed', x)", "a").number
    kernel.run("%%ollama\nHi", "b")
    kernel.run("x, [x] * 3", "c")
    png = base64.b64encode(PNG).decode()
    shown = f"publish_display_data({{'image/png': {png!r}, 'text/plain': '<Figure>'}})"
    kernel.run(f"from IPython.display import publish_display_data\n{shown}", "d")
    last = kernel.run("1 / 0", "e").number
    ran = kernel.run(f"%%ollama --cells {first}-{last} --outputs\nWhy?", "f")
    assert ran.status == "ok", ran.error
    message = asked(fake_ollama)
    text, images = message["content"], message["images"]
    assert f"In[{first}]:\n\n```python\nx = 6 * 7\nprint('printed', x)\n```" in text
    assert f"Output of In[{first + 2}]:\n\n```\n(42, [42, 42, 42])\n```" in text
    assert f"Output of In[{first + 3}]:\n\n[image 1]\n" in text
    assert "ZeroDivisionError: division by zero" in text
    assert text.endswith("\n\nWhy?")
    assert "%%ollama" not in text
    assert images == [png]
    outputs = 3
    if RECORDS_STREAMS:
        outputs = 4
        assert f"Output of In[{first}]:\n\n```\nprinted 42\n```" in text
    length = len(text) - len("Why?")
    named = f"with cells {first}, {first + 2}-{last} and {outputs} outputs"
    note = f"{named}, {length:,} characters"
    assert note in note_of(ran)
    assert ("saved cells" in note_of(ran)) is not RECORDS_STREAMS
    kernel.run("%%ollama\nAnd?", "g")  # the chat continues with what was sent
    before = fake_ollama.bodies("/api/chat")[-1]["messages"][-3]
    assert before == message
    shown = kernel.run(f"%%ollama -1 --dry-run --cells {first}\nWhy?")
    assert f"\nwith cell {first}, " in shown.text
    shown = kernel.run("turns = %ollama history\nprint(turns)")
    assert f"{{{{ {named[5:]} }}}} Why?" in shown.streams
    exported = kernel.run(f"%ollama export {str(tmp_path / 'chat.md')!r}")
    assert exported.status == "ok", exported.error
    page = (tmp_path / "chat.md").read_text()
    assert "As it was sent</summary>" in page
    assert text in page
    kernel.run(f"%ollama import {str(tmp_path / 'chat.md')!r} -c again")
    kernel.run("%%ollama -c again\nAnd?", "h")
    assert fake_ollama.bodies("/api/chat")[-1]["messages"][2]["content"] == text


def test_a_model_without_vision_gets_no_figures(kernel, fake_ollama):
    png = base64.b64encode(PNG).decode()
    kernel.run(
        f"from IPython.display import display, Image\ndisplay(Image({png!r}))\n"
        f"import base64\ndisplay(Image(base64.b64decode({png!r})))"
    )
    number = kernel.run("%%capture\nprint('captured')\n").number
    ran = kernel.run(f"%%ollama --cells {number - 1}-{number} --outputs\nWhy?")
    assert ran.status == "ok", ran.error
    text = asked(fake_ollama)["content"]
    assert "… an image left out: you cannot see images" in text
    assert "```\ncaptured" not in text
    assert "characters, in part" in note_of(ran)


def test_the_page_above_comes_from_the_saved_file(kernel, fake_ollama, tmp_path):
    kernel.run("%config OllamaMagics.headers = {'X-Key': 'tok-0123456789'}")
    kernel.run("second = 2", "b")
    first = kernel.run("first = 1; key = 'tok-0123456789'", "a").number
    old = {"output_type": "display_data", "data": {"text/plain": "old"}}
    reply = {**old, "metadata": {"ollama_magic": {}}}
    save(
        tmp_path / "notebook.ipynb",
        ("t", "markdown", "# Sales\nof the year", None),
        ("a", "code", "first = 1; edited", first, stream("the saved text\n"), old),
        ("q", "code", "%%ollama\nearlier", first + 1, reply),
        ("n", "code", "never_run()", None),
        ("s", "code", "%load_ext ollama_magic  # set-up\nx = %ollama list", None),
        ("p", "code", "%ollama use llama3.2:3b\nprint(1)", None, stream("ours")),
        ("h", "markdown", "# Only a heading", None),
        ("k", "code", "# only a comment", None),
        ("c", "code", "%%ollama --above --outputs\nSum up.", None),
        ("b", "code", "second = 2", first - 1),
    )
    ran = kernel.run("%%ollama --above --outputs\nSum up.", "c")
    assert ran.status == "ok", ran.error
    text = asked(fake_ollama)["content"]
    assert text.startswith(
        "Cells of my Jupyter notebook:\n\n"
        "Text:\n\n```markdown\n# Sales\nof the year\n```\n\n"
        f"In[{first}]:\n\n```python\nfirst = 1; key = '***'\n```\n\n"
        "A cell that was not run:\n\n```python\nnever_run()\n```\n\n"
        "A cell that was not run:\n\n"
        "```python\n%ollama use llama3.2:3b\nprint(1)\n```\n\n"
        "Text:\n\n```markdown\n# Only a heading\n```\n\n"
        "A cell that was not run:\n\n```python\n# only a comment\n```\n\nSum up."
    )
    for absent in ("second", "earlier", "old", "the saved text", "ours"):
        assert absent not in text
    assert note_of(ran).startswith(f"with cell {first}, 2 texts and 3 cells not run")
    kernel.run("%%ollama --above --outputs\nSum up.")  # no id: found by its source
    assert asked(fake_ollama)["content"] == text
    strange = [1, None, {"source": {"a": 1}, "outputs": 3}, {"cell_type": "code"}]
    (tmp_path / "notebook.ipynb").write_text(json.dumps({"cells": strange}))
    ran = kernel.run("%%ollama --above --outputs\nSum up.", "c")
    assert "those that ran before" in note_of(ran)


def test_a_saved_run_has_all_its_outputs_and_another_kernel_ran_others(
    kernel, fake_ollama, tmp_path
):
    number = kernel.run("print('fast')", "a").number
    table = {
        "output_type": "execute_result",
        "data": {
            "text/plain": "<pandas.io.formats.style.Styler at 0x7f00>",
            "text/html": "<style>b</style><table><tr><td>A</td><td>1</td></tr></table>",
        },
    }
    save(
        tmp_path / "notebook.ipynb",
        ("a", "code", "print('fast')", number, stream("10%\r50%\rdone\n"), table),
        ("z", "code", "old = 1", 4000, stream("of before\n")),
    )
    ran = kernel.run(f"%%ollama --cells {number},4000 --outputs\nWhy?", "c")
    assert ran.status == "ok", ran.error
    text = asked(fake_ollama)["content"]
    assert f"Output of In[{number}]:\n\n```\ndone\n```" in text
    assert f"Output of In[{number}]:\n\n```\nA | 1\n```" in text
    assert "Output of In[4000], as saved:\n\n```\nof before\n```" in text
    assert f"with cell {number}, cell 4000 as saved and 3 outputs" in note_of(ran)


def test_without_a_file_those_that_ran_before_are_sent_and_this_is_said(
    kernel, fake_ollama
):
    kernel.run("%reset -f in\n%reload_ext ollama_magic")
    kernel.run("a = 'once'", "a")
    kernel.run("a = 'again'", "a")
    kernel.run("b = 1", "b")
    ran = kernel.run("%%ollama --above\nWhy?", "c")
    text = asked(fake_ollama)["content"]
    assert "again" in text
    assert "once" not in text
    assert "those that ran before; for the order of the page: save the" in note_of(ran)


def test_nothing_to_send_is_an_error(kernel, fake_ollama):
    number = kernel.run("%%ollama\nHi").number
    ran = kernel.run(f"%%ollama --cells {number}\nWhy?")
    assert "There are no cells to send." in ran.error
    ran = kernel.run("%%ollama --cells 5000-6000\nWhy?")
    assert "There are no cells 5000-6000 in this notebook." in ran.error
    ran = kernel.run("%%ollama --cells 7-3\nWhy?")
    assert "--cells cannot be '7-3'" in ran.streams
    ran = kernel.run("%%ollama --outputs\nWhy?")
    assert "--outputs has no effect without --cells or --above" in ran.streams
    assert len(fake_ollama.bodies("/api/chat")) == 1


# -- what the footer names is what was sent --------------------------------------

LINES = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=60)
TEXTS = st.lists(LINES | st.sampled_from(["```", "In[1]:", "`````"]), max_size=6)
LONG = st.builds(lambda line, n: [line] * n, LINES, st.integers(100, 3000))
OUTPUT = st.one_of(
    (TEXTS | LONG).map(lambda lines: stream("\n".join(lines))),
    st.just({"output_type": "display_data", "data": {"image/png": [PNG.hex()]}}),
    st.just(
        {
            "output_type": "execute_result",
            "data": {"image/png": base64.b64encode(PNG).decode()},
        }
    ),
    TEXTS.map(
        lambda lines: {
            "output_type": "execute_result",
            "data": {"text/plain": "\n".join(lines)},
            "metadata": {},
        }
    ),
)
CELL = st.tuples(
    st.sampled_from(["code", "code", "markdown", "raw"]),
    st.sampled_from(["", "", "%%ollama\n", "%%bash\n"]),
    TEXTS | LONG,
    st.booleans(),
    st.lists(OUTPUT, max_size=3),
)
RANGE = r"\d+(?:-\d+)?"
NUMBERED = re.compile(
    rf"cells? ({RANGE}(?:, {RANGE}(?!,\d| (?:text|cell|output|char))\b)*)( as saved)?"
)
HEADING = re.compile(
    r"(Output of )?(In\[\d+\](?:, as saved)?|Text|A cell that was not run)"
)


def parts_of(text):
    """Return the heading and the body of each part before a prompt, in order."""
    lines, found = iter(text.split("\n")), []
    assert next(lines) == "Cells of my Jupyter notebook:"
    for line in lines:
        if not line or line.startswith("… "):
            continue
        heading = HEADING.fullmatch(line.removesuffix(":"))
        assert heading, line
        assert next(lines) == ""
        opening, body = next(lines), []
        fence = re.match("`*", opening)[0]
        if not fence:
            found.append((heading, opening))
            continue
        for inner in lines:
            if inner == fence:
                break
            body.append(inner)
        found.append((heading, "\n".join(body)))
    return found


@pytest.fixture(scope="module")
def seeing_server():
    with FakeOllama() as server:
        server.models([SEES])
        yield server


@examples(40)
@given(st.lists(CELL, min_size=1, max_size=12), st.booleans(), st.booleans())
def test_the_footer_names_exactly_what_was_sent(
    seeing_server, tmp_path_factory, cells, is_above, ran_here
):
    path = tmp_path_factory.mktemp("n") / "a.ipynb"
    numbers = count(1)
    page = [
        (f"c{i}", kind, begin + "\n".join(lines), has and next(numbers), *outputs)
        for i, (kind, begin, lines, has, outputs) in enumerate(cells)
    ]
    save(path, *page, ("here", "code", "%%ollama --above", None))
    ran = [source for _, _, source, number, *_ in page if number] if ran_here else []
    session = session_of(path, seeing_server.url, ran)
    which = {"above": True} if is_above else {"cells": ((1, 3), (5, 9))}
    options = ChatOptions(outputs=True, once=True, model=SEES["name"], **which)
    try:
        reply = ask(session, options, "The {{ prompt", NoDisplay())
    except PromptError as error:
        event(error.what)
        assert not is_above or not any(
            kind in {"code", "markdown"} and not begin.startswith("%%ollama")
            for kind, begin, lines, *_ in cells
            if "".join([begin, *lines]).strip()
        )
        return
    finally:
        session.close()
    body = seeing_server.bodies("/api/generate")[-1]
    assert body["prompt"].endswith("The {{ prompt")
    before = body["prompt"].removesuffix("The {{ prompt")
    (note,) = (part for part in reply.footer if part.startswith("with "))
    assert f" {len(before):,} characters" in note
    assert len(before) < MAX_CHARACTERS + 400 * len(cells)
    parts = parts_of(before)
    names = [h[2] for h, _ in parts if not h[1]]
    outputs = [body for h, body in parts if h[1]]
    sent = [one for one in outputs if not re.fullmatch("… .* left out.*", one)]
    texts, unrun = names.count("Text"), names.count("A cell that was not run")
    found = re.findall(r"(\d+) (texts?|cells? not run|outputs?)\b", note)
    assert {what.rstrip("s"): int(n) for n, what in found} == {
        what: n
        for what, n in (
            ("text", texts),
            ("cell not run" if unrun == 1 else "cells not run", unrun),
            ("output", len(sent)),
        )
        if n
    }
    named = {saved: numbers for numbers, saved in NUMBERED.findall(note)}
    for is_saved, ending in ((" as saved", "], as saved"), ("", "]")):
        numbers = sorted(int(n[3 : n.index("]")]) for n in names if n.endswith(ending))
        assert numbers_in(named.get(is_saved, "")) == numbers
    images = [one for one in sent if re.fullmatch(r"\[image \d+\]", one)]
    assert len(images) == len(body.get("images", ()))
    again = session_of(path, seeing_server.url, ran)
    again_as_json = replace(options, dry_run="json")
    shown = request_text(again, again_as_json, "The {{ prompt")
    assert note in shown
    assert json.dumps(body["prompt"], ensure_ascii=False) in shown


def numbers_in(text):
    """Return the numbers in ranges: ``1-3, 7``."""
    ranges = [part.split("-") for part in text.split(", ") if part]
    return [n for ends in ranges for n in range(int(ends[0]), int(ends[-1]) + 1)]


def session_of(path, url, ran):
    """Return the session of a kernel that has run these sources."""
    results = {n: f"result {n}" for n in range(1, len(ran) + 1, 2)}
    history = SimpleNamespace(input_hist_raw=["", *ran], output_hist_reprs=results)
    shell = SimpleNamespace(
        user_ns={},
        meta={},
        events=SimpleNamespace(register=lambda *_: None),
        display_pub=None,
        history_manager=history,
    )
    cells = NoCells(cell_id="here", permanent_id="here", raw_cell="%%ollama --above")
    settings = Settings(host=url, notebook=str(path), history_file=str(path) + ".db")
    past = RunCells(shell, cells, SimpleNamespace(find=lambda _: None))
    return Session(shell, lambda: settings, cells, past)


# -- pure parts ------------------------------------------------------------------


def test_a_long_text_is_cut_in_its_middle_and_this_is_said_in_place():
    text = "\n".join(f"line {n}" for n in range(1000))
    short = shortened(text, 400)
    head, mark, tail = re.split(r"\n(… .* lines left out)\n", short)
    assert len(short) <= 400
    assert text.startswith(head + "\n")
    assert text.endswith("\n" + tail)
    count = int(mark.split()[1])
    assert count == 1000 - len(head.split("\n")) - len(tail.split("\n"))
    one_line = shortened("x" * 1000, 400)
    assert "x\n… 640 characters left out\nx" in one_line


def test_thousands_of_cells_and_outputs_stay_within_the_budget():
    outputs = tuple(CellOutput(f"output {n}") for n in range(5000))
    cells = [NotebookCell(f"In[{n}]", f"x = {n}") for n in range(1, 5000)]
    cells.append(NotebookCell("In[5000]", "many()", outputs=outputs))
    (text, _, _), before = with_cells(("Why?", (), ()), Excerpt(tuple(cells)))
    assert MAX_CHARACTERS / 2 < before["length"] == len(text) - 4 < 1.2 * MAX_CHARACTERS
    assert re.search(r"^… [\d,]+ earlier cells left out$", text, re.MULTILINE)
    assert "output 4999" in text  # sources leave room for outputs
    many = Excerpt((replace(cells[-1], name="In[1]"),))
    (text, _, _), before = with_cells(("Why?", (), ()), many)
    assert "… 4,980 earlier outputs left out" in text
    assert "output 4999" in text
    assert before["named"] == "cell 1 and 20 outputs"


def test_outputs_of_text_read_as_in_a_terminal():
    assert text_output("\x1b[31mred\x1b[0m\r\nnext").text == "red\nnext"
    assert text_output(" \n\x1b[0m") is None
    ours = {"output_type": "display_data", "metadata": {"ollama_magic": {}}}
    widget = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "x"}
    outputs = [
        stream("a"),
        stream("b\n"),
        {**ours, "data": {"text/plain": "reply"}},
        {"output_type": "display_data", "data": widget},
        {"output_type": "error", "ename": "KeyError", "evalue": "'x'"},
        "odd",
    ]
    texts = [one.text for one in saved_outputs(outputs, "")]
    assert texts == ["ab", "KeyError: 'x'"]


def test_listings_name_the_cells_before_a_prompt_but_show_all_of_one_from_a_file():
    cells = {"length": 5, "named": "cell 3", "details": ""}
    turn = Turn("x = 1Why?", model="m", cell_id="b", request={"cells": cells})
    assert (turn.own_prompt, turn.brief_prompt) == ("Why?", "{{ cell 3 }} Why?")
    assert Page().earlier_turn([turn], "a", "Why?") == turn
    for origin in ("file", "trusted"):
        assert replace(turn, origin=origin).brief_prompt == "x = 1Why?"
