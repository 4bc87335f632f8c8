"""Chats rebuilt from the outputs of a notebook."""

import json
from dataclasses import replace

import pytest

from ollama_magic.history.records import METADATA_LAYOUT, output_metadata
from ollama_magic.history.store import ChatStore
from ollama_magic.history.turns import Chat, Turn, TurnPosition
from ollama_magic.notebook.commands import prompts_in
from ollama_magic.sharing.notebook import chats_from_notebook, in_order
from ollama_magic.sharing.restore import merge

NB = "/home/ann/notebook.ipynb"


def at(minute):
    return f"2026-01-01T10:{minute:02}:00.000000+00:00"


def turn(name, minute=0, **more):
    given = {"cell_id": name[0], "answered_at": at(minute), "model": "m", **more}
    return Turn(prompt=name, reply=f"re: {name}", **given)


def mark(minute, cell_id):
    return Turn(starts_afresh=True, cell_id=cell_id, answered_at=at(minute))


def output(kept, number=1, chat="main", plain=None):
    plain = kept.reply if plain is None else plain
    place = TurnPosition(chat=chat, turn=number, position=number) if chat else None
    data = {"text/plain": plain.splitlines(keepends=True)}
    metadata = {"ollama_magic": output_metadata(kept, place, plain)}
    return {"output_type": "display_data", "data": data, "metadata": metadata}


def changed(kept, changes):
    out = output(kept)
    out["metadata"]["ollama_magic"].update(changes)
    return out


def notebook(*cells):
    """Return a notebook; each cell is given as its id and its outputs."""
    listed = [
        {"cell_type": "code", "id": cell_id, "source": "ask(q)", "outputs": outputs}
        for cell_id, *outputs in cells
    ]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "cells": listed})


def read(*cells):
    return chats_from_notebook(notebook(*cells), prompts_in)


def names(turns):
    return "".join(turn.prompt[:1] or "|" for turn in turns)


def test_turns_have_their_cells_and_their_exact_replies():
    a = turn("a", 1, system="Be brief.", thinking="hm", digest="d", based_on="f")
    b = replace(turn("b", 2), status="interrupted", request={"think": True})
    found = read(("a", output(a)), ("b", output(b, 2, plain="re: b\n\n[interrupted]")))
    assert found.chats == (Chat("main", (a, b)),)
    assert found.left_out == 0


def test_a_cell_with_two_prompts_has_two_turns():
    (chat,) = read(("x", output(turn("a", 1)), output(turn("b", 2), 2))).chats
    assert [t.cell_id for t in chat.turns] == ["x", "x 2"]


def test_one_offs_and_foreign_outputs_are_ignored():
    foreign = {"output_type": "stream", "text": "hello"}
    once = output(turn("a"), None, None)
    found = read(("a", foreign, once, {"metadata": {"other": 1}}), ("b",))
    assert found.chats == ()
    assert found.left_out == 0


def test_a_copied_output_counts_once():
    a = output(turn("a"))
    (chat,) = read(("a", a), ("b", a)).chats
    assert [t.cell_id for t in chat.turns] == ["a"]


def test_chats_stay_separate():
    found = read(("a", output(turn("a"))), ("b", output(turn("b"), chat="side")))
    assert [(c.name, names(c.turns)) for c in found.chats] == [
        ("main", "a"),
        ("side", "b"),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"layout": METADATA_LAYOUT + 1},
        {"layout": None},
        {"chat": 7},
        {"chat": "two\nlines"},
        {"turn": None},
        {"turn": "1"},
        {"position": True},
        {"position": 1.5},
        {"prompt": ["a"]},
        {"reply": 1},
        {"model": {}},
        {"stats": {"eval_count": 1.5}},
        {"answered_at": ""},
        {"answered_at": "soon"},
    ],
)
def test_invalid_metadata_is_counted_and_left_out(changes):
    good = turn("b", 2)
    found = read(("a", changed(turn("a"), changes)), ("b", output(good)))
    assert [c.turns for c in found.chats] == [(good,)]
    assert found.left_out == 1


@pytest.mark.parametrize("metadata", [None, [], "text", 7, {}])
def test_metadata_of_another_shape_is_left_out(metadata):
    broken = {"output_type": "display_data", "metadata": {"ollama_magic": metadata}}
    assert read(("a", broken)).left_out == 1


@pytest.mark.parametrize("data", [None, [], {"text/plain": [1, "x"]}, "text"])
def test_an_output_without_text_is_read(data):
    broken = {**output(turn("a")), "data": data}
    assert len(read(("a", broken)).chats) == 1


@pytest.mark.parametrize(
    ("answered", "order"),
    [
        # name, position at the time of the reply, time of the reply
        ([("a", 1, 1), ("b", 2, 2), ("c", 3, 3)], "abc"),
        ([("a", 1, 9), ("b", 2, 2), ("c", 3, 3)], "abc"),  # a was run again
        ([("a", 1, 9), ("b", 2, 8), ("c", 3, 3)], "abc"),
        ([("b", 1, 9), ("a", 2, 3), ("c", 3, 4)], "bac"),  # not in order of cells
        ([("c", 3, 3), ("d", 2, 9)], "cd"),  # a and b were deleted before d
        ([("a", 1, 1), ("c", 3, 3), ("d", 4, 4), ("e", 4, 9)], "acde"),
        ([("e", 5, 5), ("c", 3, 3), ("d", 4, 4)], "cde"),
        ([("a", 1, 1), ("|", 2, 2), ("b", 3, 3)], "a|b"),
        ([("|", 3, 3), ("c", 4, 4), ("a", 1, 1)], "a|c"),  # b cannot be used
        ([("a", -7, 1), ("b", 2**80, 2)], "ab"),
    ],
)
def test_turns_are_in_the_order_of_the_chat(answered, order):
    placed = [
        (
            TurnPosition(chat="main", turn=1, position=at_),
            mark(when, "n") if name == "|" else turn(name, when),
        )
        for name, at_, when in answered
    ]
    assert names(in_order(placed)) == order


def live(*turns):
    return tuple(replace(t, uid=f"uid {i}") for i, t in enumerate(turns))


@pytest.mark.parametrize(
    ("theirs", "ours", "order", "restored"),
    [
        ("abc", "", "abc", 3),
        ("abc", "abc", "abc", 0),
        ("abc", "n", "abcn", 3),  # n is older than the restored chat
        ("abc", "ac", "abc", 1),
        ("abc", "xbn", "xabcn", 2),
        ("abc", "ca", "abc", 1),  # the order has changed
    ],
)
def test_turns_are_inserted_among_existing_ones(theirs, ours, order, restored):
    merged = merge([turn(n) for n in theirs], live(*(turn(n) for n in ours)))
    assert (names(merged.turns), merged.restored) == (order, restored)
    assert merged.differing == 0


def test_the_chat_wins_over_the_notebook_without_force():
    theirs = [turn("a"), turn("b old")]
    ours = live(turn("a"), turn("b new", 5))
    kept = merge(theirs, ours)
    assert [t.prompt for t in kept.turns] == ["a", "b new"]
    assert (kept.restored, kept.differing) == (0, 1)
    taken = merge(theirs, ours, force=True)
    assert [t.prompt for t in taken.turns] == ["a", "b old"]
    assert taken.restored == 1


def test_a_cell_that_moved_to_another_chat_stays_there():
    merged = merge([turn("a"), turn("b")], (), elsewhere={"b"})
    assert names(merged.turns) == "a"
    assert merged.differing == 1


def test_a_turn_without_a_cell_is_recognised():
    ours = live(replace(turn("a"), cell_id=None))
    assert merge([turn("a")], ours).restored == 0


@pytest.fixture
def store(tmp_path):
    warnings = []
    store = ChatStore(tmp_path / "chats.sqlite", warn=warnings.append)
    yield store
    store.close()
    assert warnings == []


def test_the_store_inserts_turns_in_order(store):
    n = store.record(NB, "main", turn("n", cell_id="n"))
    store.insert_turns(NB, [Chat("main", (turn("a", 1), turn("b", 2), n))])
    turns = store.load(NB).turns
    assert names(turns) == "abn"
    assert turns[2] == n
    assert [t.answered_at for t in turns[:2]] == [at(1), at(2)]
    store.insert_turns(NB, [Chat("main", (*turns[:2], turn("c", 3), n))])
    assert names(store.load(NB).turns) == "abcn"


def test_a_cell_that_runs_again_replaces_its_restored_turn(store):
    store.insert_turns(NB, [Chat("main", (turn("a", 1), turn("b", 2)))])
    store.record(NB, "main", turn("a again"))
    assert names(store.load(NB).turns) == "ab"
    assert store.load(NB).turns[0].prompt == "a again"


def test_an_inserted_turn_replaces_those_of_its_cell(store):
    store.record(NB, "main", turn("b new"))
    store.record(NB, "side", turn("c", cell_id="c"))
    store.insert_turns(
        NB, [Chat("main", (turn("a", 1), turn("b old", 2), turn("c", 3)))]
    )
    assert [t.prompt for t in store.load(NB).turns] == ["a", "b old", "c"]
    assert store.load(NB, "side").turns == ()


def test_all_chats_are_stored_or_none(store):
    bad = replace(turn("b"), stats=None)
    with pytest.raises(TypeError):
        store.insert_turns(NB, [Chat("main", (turn("a"),)), Chat("side", (bad,))])
    assert store.chats(NB) == []
    assert store.load(NB).turns == ()
