"""The visible text of a notebook wins over its metadata."""

import pytest

from ollama_magic.history.turns import Turn
from ollama_magic.notebook.commands import prompts_in
from ollama_magic.sharing.notebook import as_shown


def look(source, prompt, *, plain="4", reply="4", **more):
    """Return the prompt and reply that are used, and the finding."""
    turn = Turn(prompt=prompt, reply=reply, model="m", **more)
    shown, finding = as_shown(turn, source, plain, prompts_in)
    return shown.prompt, shown.reply, finding


@pytest.mark.parametrize(
    ("source", "prompt"),
    [
        ("%%ollama m\nWhat?", "What?"),
        ("\n%%ollama\n\n  What?\r\n", "  What?"),
        ("%%ollama answer << m -t 0\nWhat?", "What?"),
        ("%%ollama\nWhy {{ x }} and {{ x }}?", "Why 1\n2 and 1\n2?"),
        ("%%ollama\n{{ x }}", "anything"),
        ("%%ollama\n{{ x }}{{ y }} end", "some end"),
        ("%%ollama\nKeep {{}}", "Keep {{}}"),
        ("%%ollama --raw\nKeep {{ x }}", "Keep {{ x }}"),
        ("%%ollama -F a.txt\nSum up", "File a.txt:\n```txt\nb\n```\n\nSum up"),
        ("%%ollama -F a.txt\nIn {{ x }} now", "File a.txt:\n```\nb\n```\n\nIn 1 now"),
        ("%ollama ask -t 0 What's up?", "What's up?"),
        ("x = 1\nreply = %ollama ask What?\nx", "What?"),
        ("%ollama ask a?\n%ollama ask b?", "b?"),
        ("for q in qs:\n    print(ask('In code?'))", "In code?"),
    ],
)
def test_a_visible_prompt_is_kept(source, prompt):
    assert look(source, prompt) == (prompt, "4", "same")


@pytest.mark.parametrize(
    ("source", "prompt", "taken"),
    [
        ("%%ollama m\nWhat is 2+2?", "I agree to all", "What is 2+2?"),
        ("%%ollama m\nWhat?", "Obey.\n\nWhat?", "What?"),
        ("%%ollama m\nWhat?", "What? And obey.", "What?"),
        ("%%ollama\nWhy {{ x }} now?", "Obey. Why 1 now?", "Why {{ x }} now?"),
        ("%%ollama\nWhy {{ x }} now?", "Why 1 now? Obey.", "Why {{ x }} now?"),
        ("%%ollama\naa {{ x }} aa", "aa", "aa {{ x }} aa"),
        ("%%ollama\na {{ x }} b {{ y }} c", "a 1 c", "a {{ x }} b {{ y }} c"),
        ("%%ollama --raw\nKeep {{ x }}", "Keep obey", "Keep {{ x }}"),
        ("%%ollama -F a.txt\nSum up", "Sum up. Obey.", "Sum up"),
        ("%ollama ask What?", "Obey", "What?"),
        ("%%ollama\nWhat?", "What?\U000e006f\U000e0062", "What?"),
        ("%%ollama\nWhat?\U000e006f", "What?\U000e006f", "What?"),
    ],
)
def test_a_different_visible_prompt_is_used(source, prompt, taken):
    assert look(source, prompt) == (taken, "4", "differs")


@pytest.mark.parametrize(
    "source",
    ["", "x = 1", "%ollama explain 3", "%ollama fix", "ask(q)", "%%ollama --odd\na"],
)
def test_a_prompt_created_by_code_is_kept(source):
    assert look(source, "made by code") == ("made by code", "4", "unshown")


@pytest.mark.parametrize(
    ("plain", "reply", "taken", "finding"),
    [
        ("4", "4", "4", "same"),
        ("4\n\n[incomplete: no memory]", "4", "4", "same"),
        ("4\n\nChats are not saved.\nThey go on", "4", "4", "same"),
        ("\n\n[interrupted]", "", "", "same"),
        ("4\n\n[cut off at num_predict]", "4", "4", "same"),
        ("4\n\n[interrupted]\n[declined f {}]", "4", "4", "same"),
        ("4", "Run evil", "4", "differs"),
        ("", "Run evil", "", "differs"),
        ("4", "4\n\nRun evil", "4", "differs"),
        ("4\n\nNever\n\nrun it", "4", "4\n\nNever\n\nrun it", "differs"),
        ("4", "4\U000e006f", "4", "differs"),
    ],
)
def test_the_visible_reply_is_used(plain, reply, taken, finding):
    found = look("%%ollama\na", "a", plain=plain, reply=reply)
    assert found == ("a", taken, finding)


def test_the_notice_of_a_partial_reply_is_not_part_of_it():
    found = look(
        "%%ollama\na", "a", plain="4\n\n[interrupted]", reply="5", status="interrupted"
    )
    assert found == ("a", "4", "differs")


def test_the_mark_of_a_new_conversation_is_unchanged():
    mark = Turn(starts_afresh=True)
    assert as_shown(
        mark, "%ollama new", 'New conversation in chat "main"', prompts_in
    ) == (
        mark,
        "same",
    )
