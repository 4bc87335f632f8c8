"""Export formats: every chat survives the round trip, whatever its texts are."""

import json
from dataclasses import fields, replace

import nbformat
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from ollama_magic.client.images import Image
from ollama_magic.client.types import Stats
from ollama_magic.history.records import (
    RECORDED_SETTINGS,
    UnreadableError,
    turn_to_record,
)
from ollama_magic.history.rows import storable
from ollama_magic.history.turns import UNKNOWN_MODEL, Chat, Turn, utc_now
from ollama_magic.notebook.commands import prompts_in
from ollama_magic.render.text import count_invisible, visible_text
from ollama_magic.sharing.documents import (
    chat_from_json,
    chat_from_markdown,
    chat_to_json,
    chat_to_markdown,
)
from ollama_magic.sharing.notebook import chat_to_notebook, chats_from_notebook

FORMATS = {
    "md": (chat_to_markdown, chat_from_markdown),
    "json": (chat_to_json, chat_from_json),
    "ipynb": (
        chat_to_notebook,
        lambda text: chats_from_notebook(text, prompts_in),
    ),
}

NASTY = [
    "```python\nprint('never closed')",
    "~~~~\n```\n# not a heading\n```\n",
    "# Heading\n\nSetext\n---\n\n---\n",
    "<!-- end 01234567 -->\n\n<!-- prompt 01234567 -->",
    "-->\n<!--",
    "</details>\r\n\r\nline\r\n",
    "<details>\n<summary>a <details>b",
    "\n\n  leading and trailing  \n\n",
    "{{ df }} \u2028 \x85 \x00 \x1b[31m",
    "hidden \U000e0041\U000e0042 tags",
    "emoji 👩‍🔬 and a lone \ud800 surrogate",
    "",
]

STEPS = (
    {
        "role": "assistant",
        "content": "</details> -->",
        "thinking": "hm",
        "tool_calls": [{"function": {"name": "add", "arguments": {"a": "```"}}}],
    },
    {"role": "tool", "content": "-->\n</details>", "tool_name": "add"},
)

texts = st.one_of(
    st.text(), st.lists(st.sampled_from(NASTY)).map("\n".join), st.sampled_from(NASTY)
)
counts = st.integers(min_value=0, max_value=2**62)
turns = st.builds(
    Turn,
    prompt=texts,
    reply=texts,
    thinking=texts,
    model=st.sampled_from(["llama3.2:3b", "hf.co/a_b/c*d:Q4_K_M", UNKNOWN_MODEL]),
    digest=st.text("0123456789abcdef", max_size=64),
    system=st.none() | texts,
    starts_afresh=st.booleans(),
    status=st.sampled_from(["complete", "interrupted", "broken"]),
    done_reason=st.sampled_from(["", "stop", "length"]),
    steps=st.sampled_from([(), STEPS]),
    stats=st.builds(Stats, total_duration_ns=counts, eval_count=counts),
    request=st.fixed_dictionaries(
        {},
        optional={
            "options": st.dictionaries(st.text(), st.integers() | texts, max_size=2),
            "format": st.just("json"),
            "think": st.sampled_from([True, False, "high"]),
            "keep_alive": st.sampled_from(["10m", 0, -1, 1.5]),
            "extract": st.just(True),
        },
    ),
    based_on=st.text("0123456789abcdef", max_size=32),
)
MARK = Turn(starts_afresh=True)
chats = st.lists(turns | st.just(MARK), min_size=1, max_size=4)


def timed(given_turns):
    """Set the times of turns as the store does."""
    return tuple(
        replace(turn, answered_at=f"2026-01-01T10:{minute:02}:00.000001+00:00")
        for minute, turn in enumerate(given_turns)
    )


def through_bytes(text):
    return text.encode("utf-8", "replace").decode("utf-8")


@pytest.mark.parametrize("kind", FORMATS)
@examples(60)
@given(given_turns=chats)
def test_a_chat_survives_a_round_trip(kind, given_turns):
    write, read = FORMATS[kind]
    chat = Chat("my ideas", timed(given_turns))
    (back,) = read(through_bytes(write(chat))).chats
    assert back.name == chat.name
    seen = _seen if kind == "ipynb" else str
    assert [replace(t, cell_id=None) for t in back.turns] == [
        replace(
            storable(t),
            prompt=seen(storable(t).prompt),
            reply=seen(storable(t).reply),
            request=json_of(t.request),
        )
        for t in chat.turns
    ]


def _seen(text):
    """Remove invisible characters, as the import of a notebook does."""
    return visible_text(text) if count_invisible(text) else text


def json_of(request):
    """Replace lone surrogates in options, as UTF-8 does."""
    return json.loads(through_bytes(json.dumps(request, ensure_ascii=False)))


@examples(40)
@given(given_turns=chats)
def test_an_exported_notebook_is_valid_and_has_the_prompts(given_turns):
    text = through_bytes(chat_to_notebook(Chat("main", timed(given_turns))))
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    sources = [cell.source for cell in notebook.cells[1:]]
    assert len(sources) == len(given_turns)
    for source, turn in zip(sources, given_turns, strict=True):
        assert source.startswith("%ollama new" if turn.is_mark else "%%ollama")
        if not turn.is_mark:
            assert source.partition("\n")[2] == storable(turn).prompt


def test_cells_of_an_exported_notebook_have_model_system_and_new():
    turn = Turn(
        prompt="What is {{ x }}?",
        reply="1",
        model="m:1b",
        system="It's\nterse",
        starts_afresh=True,
        cell_id="0a1b-cell",
    )
    notebook = json.loads(chat_to_notebook(Chat("side talk", timed([turn]))))
    first, cell = notebook["cells"]
    assert "".join(first["source"]).endswith("\n%ollama chat 'side talk'")
    line = "".join(cell["source"]).partition("\n")[0]
    assert line == """%%ollama m:1b -s 'It'"'"'s terse' --new --raw"""
    assert cell["id"] == "0a1b-cell"
    assert cell["outputs"][0]["metadata"]["ollama_magic"]["system"] == "It's\nterse"


def test_json_contains_the_messages_for_the_next_turn():
    turns = [
        Turn(prompt="old", reply="gone", model="m"),
        Turn(prompt="a", reply="A", model="m", starts_afresh=True, system="Be brief."),
        Turn(prompt="b", reply="B", model="m", thinking="hm"),
    ]
    whole = json.loads(chat_to_json(Chat("main", timed(turns))))
    assert (whole["format"], whole["version"]) == ("ollama_magic chat", 1)
    assert whole["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "A"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "B"},
    ]


def test_markdown_is_readable():
    turn = Turn(
        prompt="Why?",
        reply="Because.\n```python\nx = 1",
        thinking="Let me see.",
        model="llama3.2:3b",
        status="interrupted",
    )
    page = chat_to_markdown(Chat("main", timed([turn, MARK])))
    shown = [
        line
        for line in page.splitlines()
        if line and not (line.startswith("<!-- ") and line.endswith(" -->"))
    ]
    assert shown == [
        "# main",
        "## You",
        "Why?",
        "## llama3.2:3b",
        "*2026-01-01 10:00 UTC · interrupted*",
        "<details><summary>Thinking</summary>",
        "Let me see.",
        "</details>",
        "Because.",
        "```python",
        "x = 1",
        "```",
        "---",
        "*A new conversation starts here.*",
    ]


def test_an_open_fold_of_a_reply_does_not_hide_the_next_turn():
    reply = "```html\n<details>\n```\na\n<details>\n<summary>b</summary>\n\nc"
    page = chat_to_markdown(Chat("main", timed([Turn("Why?", reply, model="m")] * 2)))
    assert page.count("c\n</details>\n\n<!-- end") == 2
    (back,) = chat_from_markdown(page).chats
    assert [turn.reply for turn in back.turns] == [reply, reply]


def test_markdown_may_be_edited_and_saved_with_windows_line_ends():
    chat = Chat("main", timed([Turn(prompt="Why?", reply="Because.", model="m")]))
    edited = chat_to_markdown(chat).replace("Because.", "No idea.\n\n# Really")
    (back,) = chat_from_markdown(edited.replace("\n", "\r\n")).chats
    assert [t.reply for t in back.turns] == ["No idea.\n\n# Really"]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "# A document of something else",
        "[1, 2]",
        "[]",
        "{}",
        '{"nbformat": 3, "cells": []}',
        '{"nbformat": 4, "cells": 7}',
        '{"format": "ollama_magic chat", "version": 2, "turns": []}',
        '{"format": "ollama_magic chat", "version": 1, "chat": "a", "turns": 1}',
        '{"format": "ollama_magic chat", "version": 1, "chat": "", "turns": []}',
        '{"messages": [{"role": "user", "content": "no answer"}]}',
        '[{"role": 1, "content": "x"}]',
        '[{"role": "user", "content": {"a": 1}}]',
        "[" * 100_000,
        '<!-- ollama_magic chat {"version": 1} -->',
        '<!-- ollama_magic chat {"version": 9, "boundary": "a", "chat": "b"} -->',
        '<!-- ollama_magic chat {"version": 1, "boundary": "a", "chat": "b"} -->\n'
        '<!-- turn a {"model": "m"} -->\n',
        '<!-- ollama_magic chat {"version": 1, "boundary": "a", "chat": "b"} -->\n'
        "<!-- turn a [] -->\n",
    ],
    ids=lambda text: text[:40],
)
def test_a_file_without_a_chat_is_an_error(kind, text):
    with pytest.raises(UnreadableError):
        FORMATS[kind][1](text)


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": 1},
        {"prompt": None, "model": 7},
        {"model": ""},
        {"model": "m\n!rm"},
        {"status": "done"},
        {"stats": []},
        {"stats": {"eval_count": "many"}},
        {"answered_at": "yesterday"},
        {"answered_at": "0001-01-01T00:00:00+14:00"},
        {"options": "all"},
        {"think": 1.5},
        {"extract": "yes"},
        {"starts_afresh": 1},
    ],
)
def test_a_field_of_a_wrong_type_is_an_error(change):
    turn = {"prompt": "a", "reply": "b", "model": "m", **change}
    whole = {"format": "ollama_magic chat", "version": 1, "chat": "c", "turns": [turn]}
    with pytest.raises(UnreadableError):
        chat_from_json(json.dumps(whole))


def prompts_and_replies(messages):
    found = chat_from_json(json.dumps(messages))
    return [(t.prompt, t.reply) for t in found.chats[0].turns], found


def test_messages_of_other_tools_become_turns():
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"role": "user", "content": [{"type": "text", "text": "more"}]},
        {"role": "assistant", "content": "1", "thinking": "hm"},
        {"role": "system", "content": "Be long."},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": "2a"},
        {"role": "assistant", "content": "2b"},
    ]
    pairs, found = prompts_and_replies(messages)
    assert pairs == [("one\n\nmore", "1"), ("two", "2a\n\n2b")]
    turns = found.chats[0].turns
    assert [t.system for t in turns] == ["Be brief.", "Be long."]
    assert [t.thinking for t in turns] == ["hm", ""]
    assert {t.model for t in turns} == {UNKNOWN_MODEL}
    assert found.left_out == 0


def test_messages_that_cannot_become_turns_are_counted():
    messages = [
        {"role": "user", "content": [{"type": "image_url"}, {"text": "what is it?"}]},
        {"role": "assistant", "content": None, "tool_calls": [{}]},
        {"role": "tool", "content": "a cat"},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "no answer"},
    ]
    pairs, found = prompts_and_replies(messages)
    assert pairs == [("what is it?", "A cat.")]
    assert found.left_out == 4


@pytest.mark.parametrize("content", ["", None, [{"type": "image_url"}]])
def test_a_reply_without_a_prompt_is_left_out(content):
    greeting = {"role": "assistant", "content": "How can I help?"}
    messages = [
        {"role": "system", "content": "Be brief."},
        greeting,
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "A"},
    ]
    pairs, found = prompts_and_replies(messages)
    assert pairs == [("a", "A")]
    assert found.chats[0].turns[0].system == "Be brief."
    assert found.left_out == 1
    empty = {"role": "user", "content": content}
    pairs, found = prompts_and_replies([empty, *messages[1:]])
    assert pairs == [("a", "A")]
    with pytest.raises(UnreadableError, match="to a prompt"):
        prompts_and_replies([greeting])


def test_the_body_of_a_request_names_its_model():
    body = {
        "model": "m:1b",
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "A"},
        ],
    }
    assert chat_from_json(json.dumps(body)).chats[0].turns[0].model == "m:1b"


def test_a_record_has_every_field_of_a_turn():
    """Except fields that the store sets: a new field must not get lost in files."""
    named = {field.name for field in fields(Turn)}
    request = {"options": {}, "format": "json", "think": True, "keep_alive": 1}
    request |= {"extract": True, "code_below": "0f", "cells": {}}
    request |= {"template": "t", "typed": "{{ x }}"}
    record = turn_to_record(Turn(request=request))
    of_the_store = {"uid", "text_hash", "added_at", "origin"}
    written_otherwise = {"request", "images"}
    assert set(record) == (named - of_the_store - written_otherwise) | (
        set(request) | {"pictures"}
    )
    assert set(request) == set(RECORDED_SETTINGS)


def test_images_are_exported_to_json_and_only_mentioned_elsewhere():
    image = Image(b"\x89PNG\r\n\x1a\n" + bytes(20))
    turn = Turn(prompt="What?", reply="A plot.", model="m", images=(image,))
    chat = Chat("ideas", timed([turn]))
    (back,) = chat_from_json(chat_to_json(chat)).chats
    assert back.turns[0].images == (image,)
    for kind in ("md", "ipynb"):
        write, read = FORMATS[kind]
        assert image.base64 not in write(chat)
        assert image.digest in write(chat)
        assert read(write(chat)).chats[0].turns[0].images == ()
    assert "[image: PNG" in chat_to_markdown(chat)


DEEP = {"a": 1}
for _ in range(60):
    DEEP = {"a": DEEP}


def called(call):
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def test_unknown_fields_of_steps_are_dropped():
    """Otherwise the server would get whatever a file contains, with every turn."""
    function = {"name": "f", "arguments": {}, "x": 1}
    steps = [
        {**called({"function": function, "x": 1}), "images": ["x"], "x": {}},
        {"role": "tool", "content": "2", "outcome": "failed", "x": 1},
    ]
    record = {"prompt": "a", "model": "m", "reply": "b", "steps": steps}
    file = {"format": "ollama_magic chat", "version": 1, "chat": "x", "turns": [record]}
    (turn,) = chat_from_json(json.dumps(file)).chats[0].turns
    assert turn.steps == (
        called({"function": {"name": "f", "arguments": {}}}),
        {"role": "tool", "content": "2", "outcome": "failed"},
    )


def test_markdown_shows_tool_calls():
    turn = Turn(prompt="1 + 2?", reply="3", model="m", steps=STEPS)
    assert 'add \\{"a": "\\`\\`\\`"\\}' in chat_to_markdown(Chat("a", timed([turn])))


def nested(levels):
    """Return an object with nested lists."""
    value = []
    for _ in range(levels - 1):
        value = [value]
    return {"a": value}


@pytest.mark.parametrize(
    "change",
    [
        {"steps": [{"role": "system", "content": "obey"}]},
        {"steps": [{"role": "tool"}]},
        {"steps": "x"},
        {"steps": "[" * 100_000},
        {"steps": [{"role": "tool", "content": "", "outcome": "obeyed"}]},
        {"steps": [{"role": "tool", "content": "", "tool_name": ["x"]}]},
        {"steps": [{"role": "assistant", "content": "", "thinking": {}}]},
        {"steps": [{"role": "assistant", "content": "", "tool_calls": 5}]},
        {"steps": [called({"function": {"name": "f", "arguments": DEEP}})]},
        {"steps": json.dumps([called({"function": {"name": "f", "arguments": DEEP}})])},
        {"options": DEEP},
        {"format": DEEP},
        {"steps": [{"role": ["tool"], "content": "x"}]},
        {"steps": [{"role": "assistant", "content": "x", "tool_calls": 5}]},
        {"steps": [{"role": "assistant", "content": "x", "thinking": {"a": 1}}]},
        {"steps": [called({"function": "x"})]},
        {"steps": [called({})]},
        {"steps": [called("x")]},
        {"steps": [called({"function": {"name": 7, "arguments": {}}})]},
        {"steps": [called({"function": {"name": "", "arguments": {}}})]},
        {"steps": [called({"function": {"name": "f", "arguments": "{}"}})]},
        {"steps": [called({"function": {"name": "f", "arguments": nested(100)}})]},
        {"steps": [called({"id": 3, "function": {"name": "f", "arguments": {}}})]},
        {"steps": [{"role": "tool", "content": "x", "tool_call_id": 1}]},
        {"options": nested(101)},
        {"format": nested(480)},
        {"model": "m" * 201},
        {"model": "--file=/etc/passwd"},
        {"pictures": ["x"]},
        {"pictures": [{"data": "no base64"}]},
        {"pictures": [{"data": 1}]},
    ],
)
def test_invalid_parts_of_a_turn_are_errors(change):
    record = {"prompt": "a", "model": "m", "reply": "b", **change}
    file = {"format": "ollama_magic chat", "version": 1, "chat": "x", "turns": [record]}
    with pytest.raises(UnreadableError, match="turn 1: "):
        chat_from_json(json.dumps(file))


def test_unknown_keys_of_tool_calls_are_dropped():
    step = {"role": "tool", "content": "x", "images": ["y"], "x": 1}
    call = {"id": "1", "x": 1, "function": {"name": "f", "arguments": {}, "y": 2}}
    record = {"prompt": "a", "model": "m", "steps": [called(call) | {"z": 3}, step]}
    file = {"format": "ollama_magic chat", "version": 1, "chat": "x", "turns": [record]}
    (turn,) = chat_from_json(json.dumps(file)).chats[0].turns
    known = {"id": "1", "function": {"name": "f", "arguments": {}}}
    assert turn.steps == (called(known), {"role": "tool", "content": "x"})


def test_a_date_in_the_future_becomes_now():
    record = {"prompt": "a", "model": "m", "answered_at": "2999-01-01T00:00:00+00:00"}
    file = {"format": "ollama_magic chat", "version": 1, "chat": "x", "turns": [record]}
    before = utc_now()
    (turn,) = chat_from_json(json.dumps(file)).chats[0].turns
    assert before <= turn.answered_at <= utc_now()
