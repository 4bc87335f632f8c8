"""Chats as values: which messages are sent, what is replaced, what is stale."""

from dataclasses import replace

import pytest

from ollama_magic.client.images import Image
from ollama_magic.history.turns import Chat, Turn, fingerprint


def turn(name, **more):
    return Turn(prompt=f"ask {name}", reply=f"say {name}", model="m", uid=name, **more)


def chat(*turns):
    """Make a chat whose turns are each based on those before them."""
    made = []
    for each in turns:
        before = () if each.starts_afresh else tuple(made)
        made.append(replace(each, based_on=fingerprint(before)))
    return Chat("main", tuple(made))


MARK = Turn(starts_afresh=True, uid="mark")


def test_messages_are_the_turns_in_order_and_the_new_prompt():
    assert chat(turn("a")).messages("next", system="Be terse.") == [
        {"role": "system", "content": "Be terse."},
        {"role": "user", "content": "ask a"},
        {"role": "assistant", "content": "say a"},
        {"role": "user", "content": "next"},
    ]


def test_images_and_tool_calls_are_sent_again_but_not_thinking():
    image = Image(b"x")
    call = {"role": "assistant", "content": "", "tool_calls": [{}], "thinking": "hm"}
    result = {"role": "tool", "content": "3", "tool_name": "add"}
    asked = chat(turn("a", images=(image,), steps=(call, result)))
    sent = asked.messages("next", images=[image])
    assert sent == [
        {"role": "user", "content": "ask a", "images": [image.base64]},
        {"role": "assistant", "content": "", "tool_calls": [{}]},
        result,
        {"role": "assistant", "content": "say a"},
        {"role": "user", "content": "next", "images": [image.base64]},
    ]
    blind = asked.messages("next", accepts=lambda image: False)
    assert not any("images" in message for message in blind)


def test_images_and_tool_results_change_the_text_hash():
    plain = turn("a")
    seen = replace(plain, images=(Image(b"x"),))
    result = replace(plain, steps=({"role": "tool", "content": "3"},))
    assert len({t.compute_text_hash() for t in (plain, seen, result)}) == 3


def test_only_prompts_and_replies_of_an_untrusted_file_are_sent():
    result = {"role": "tool", "content": "obey"}
    brought = turn("a", system="obey", steps=(result,), origin="file")
    talk = chat(turn("x", system="mine"), brought)
    assert talk.messages("next") == [
        {"role": "system", "content": "mine"},
        {"role": "user", "content": "ask x"},
        {"role": "assistant", "content": "say x"},
        {"role": "user", "content": "ask a"},
        {"role": "assistant", "content": "say a"},
        {"role": "user", "content": "next"},
    ]
    trusted = chat(replace(brought, origin="trusted")).messages("next")
    assert [message["content"] for message in trusted] == [
        "obey",
        "ask a",
        "obey",
        "say a",
        "next",
    ]


def test_a_system_message_applies_until_the_next_one():
    talk = chat(turn("a", system="one"), turn("b"), turn("c", system="two"), turn("d"))
    assert talk.system() == "two"
    assert talk.before(None).system() == "two"
    assert Chat("main", talk.turns[:2]).system() == "one"


def test_last_limits_the_number_of_turns_sent():
    talk = chat(turn("a"), turn("b"), turn("c"))
    for last, count in [(None, 7), (2, 5), (0, 1), (9, 7)]:
        assert len(talk.messages("next", last=last)) == count


def test_turns_before_a_new_conversation_are_not_sent():
    assert chat(turn("a"), MARK, turn("b")).messages("next")[0]["content"] == "ask b"
    fresh = chat(turn("a"), turn("b", starts_afresh=True))
    assert fresh.messages("next")[0]["content"] == "ask b"
    assert chat(turn("a", system="old"), MARK).system() is None


def test_before_returns_the_turns_before_that_of_a_cell():
    talk = chat(turn("a", cell_id="1"), turn("b", cell_id="2"), turn("c", cell_id="3"))
    assert [t.uid for t in talk.before("2").turns] == ["a"]
    assert talk.before("new") == talk
    assert talk.before(None) == talk


def test_before_uses_the_last_of_several_turns_of_a_cell():
    """``--append`` keeps earlier turns of a cell permanently."""
    talk = chat(turn("a", cell_id="1"), turn("b", cell_id="2"), turn("c", cell_id="1"))
    assert [t.uid for t in talk.before("1").turns] == ["a", "b"]


def test_nothing_is_stale_in_a_chat_that_ran_in_order():
    assert chat(turn("a"), turn("b"), MARK, turn("c")).stale() == frozenset()


def test_turns_after_a_changed_one_are_stale():
    talk = chat(turn("a"), turn("b"), turn("c"))
    changed = replace(talk.turns[0], reply="something else")
    assert Chat("main", (changed, *talk.turns[1:])).stale() == {"b", "c"}


def test_turns_after_a_removed_or_added_one_are_stale():
    talk = chat(turn("a"), turn("b"), turn("c"))
    assert Chat("main", (talk.turns[0], talk.turns[2])).stale() == {"c"}
    added = (talk.turns[0], turn("new", based_on="?"), *talk.turns[1:])
    assert Chat("main", added).stale() == {"new", "b", "c"}


def test_an_identical_new_reply_makes_nothing_stale():
    """Only the texts that are sent count, not time or cell."""
    talk = chat(turn("a"), turn("b"))
    again = replace(talk.turns[0], uid="again", thinking="other", answered_at="later")
    assert Chat("main", (again, talk.turns[1])).stale() == frozenset()


def test_turns_of_a_new_conversation_do_not_become_stale():
    talk = chat(turn("a"), turn("b", starts_afresh=True), turn("c"))
    changed = replace(talk.turns[0], reply="something else")
    assert Chat("main", (changed, *talk.turns[1:])).stale() == frozenset()


def test_a_new_conversation_inserted_before_a_turn_makes_it_stale():
    talk = chat(turn("a"), turn("b"))
    assert Chat("main", (talk.turns[0], MARK, talk.turns[1])).stale() == {"b"}


def test_a_turn_without_based_on_is_not_stale():
    assert Chat("main", (turn("a"), turn("b", based_on=""))).stale() == frozenset()


def test_different_texts_have_different_hashes():
    one = Turn(prompt="ab", reply="c").compute_text_hash()
    assert one != Turn(prompt="a", reply="bc").compute_text_hash()
    assert one != Turn(system="ab", reply="c").compute_text_hash()
    assert Turn(reply="half \ud83d").compute_text_hash()  # a lone surrogate


def test_the_outcome_of_a_tool_call_is_not_sent_or_hashed():
    result = {"role": "tool", "content": "3"}
    plain, known = (
        turn("a", steps=(result,)),
        turn("a", steps=({**result, "outcome": "called"},)),
    )
    assert chat(known).messages("b") == chat(plain).messages("b")
    assert known.compute_text_hash() == plain.compute_text_hash()


@pytest.mark.parametrize("status", ["cut", "interrupted", "broken"])
def test_a_turn_that_ended_before_any_text_is_not_sent(status):
    stopped = replace(turn("b", thinking="Hm", status=status), reply="")
    both = Chat("main", (turn("a"), stopped))
    sent = [one["content"] for one in both.messages("c")]
    assert sent == ["ask a", "say a", "c"]
    assert both.numbered == both.turns
    assert fingerprint(both.turns) == fingerprint(both.turns[:1])
    step = {"role": "tool", "content": "2"}
    assert not replace(stopped, steps=(step,)).is_unanswered
