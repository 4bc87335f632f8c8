"""Chats that are too long get a notice; chats that fit get none."""

import json

import pytest
from fake_ollama import WIRE, recording

from ollama_magic.client.types import Stats
from ollama_magic.generation.context import ContextCheck, check_context, length_in_force
from ollama_magic.history.turns import Chat, Turn
from ollama_magic.notebook.commands.server import describe_use

PROMPT = {"role": "user", "content": "And now?"}
CUT = {"chat_long_prompt", "generate_long_prompt_shift"}
DEFAULT_OF_THE_RECORDED_SERVER = 4096


def counted(prompt, reply=10):
    return Stats(prompt_eval_count=prompt, eval_count=reply)


def a_turn(number=1, *, words=50, stats=None, **more):
    more = {"model": "m", "uid": str(number), "reply": "word " * words} | more
    return Turn(prompt="word " * words, stats=stats or Stats(), **more)


def check(turns=(), **known):
    return check_context(turns, [PROMPT], **{"options": {}} | known)


def recorded_answers():
    """Return name, request and last line of each recording with token counts."""
    found = []
    for path in sorted(WIRE.glob("*.json")):
        case = json.loads(path.read_text("utf-8"))
        if case.get("request", {}).get("path") not in {"/api/chat", "/api/generate"}:
            continue
        *_, last = case.get("response", {}).get("lines") or [{}]
        if '"prompt_eval_count"' in last.get("line", ""):
            found.append((path.stem, case["request"]["body"], json.loads(last["line"])))
    return found


def said_after(body, answer):
    system = [{"content": body["system"]}] if body.get("system") else []
    messages = body.get("messages") or [*system, {"content": body.get("prompt", "")}]
    options = body.get("options", {})
    length = options.get("num_ctx", DEFAULT_OF_THE_RECORDED_SERVER)
    known = check_context((), messages, options=options, trained=8192)
    return known.after(Stats.from_json(answer), answer.get("done_reason", ""), length)


def test_only_recordings_that_were_cut_get_a_notice():
    recorded = recorded_answers()
    assert len(recorded) > 50
    told = {name for name, body, answer in recorded if said_after(body, answer)}
    assert told == CUT


@pytest.mark.parametrize("case", sorted(CUT))
def test_a_recorded_prompt_that_was_cut_gets_a_notice_before_and_after(case):
    body = recording(case)["request"]["body"]
    messages = body.get("messages") or [{"content": body["prompt"]}]
    length = length_in_force(body["options"], loaded=4096, trained=8192, asked_with={})
    known = check_context(
        (), messages, options=body["options"], length=length, trained=8192
    )
    assert known.before() == (
        "This prompt will probably not fit: about 486 tokens, and the context holds "
        "128. The server will drop part of the prompt. Run the cell again with "
        "a shorter prompt or -o num_ctx 1024."
    )
    assert known.after(counted(66, 1), "stop") == (
        "The server dropped part of the prompt: about 486 tokens were sent, but "
        "only 66 were read (context 128). Run the cell again with a shorter prompt or "
        "-o num_ctx 1024."
    )


def test_a_chat_that_fits_gets_no_notice():
    known = check([a_turn(n) for n in range(5)], length=4096, trained=8192)
    assert known.fits
    assert (known.before(), known.after(counted(known.size), "stop")) == ("", "")
    assert known.verdict() == "it fits into the context"


def test_a_chat_that_does_not_fit_gets_advice():
    known = check([a_turn(n) for n in range(20)], length=1024, trained=8192)
    assert known.fits is False
    assert known.before() == (
        f"This chat will probably not fit: about {known.size:,} tokens, and the "
        "context holds 1,024. The server will drop the beginning of the chat. "
        "Run the cell again with --last 6, --new or -o num_ctx 4096."
    )


@pytest.mark.parametrize("count", [1, 3, 40, 400])
@pytest.mark.parametrize("length", [256, 2048, 4096])
def test_the_advice_fits(count, length):
    turns = [a_turn(n) for n in range(count)]
    known = check(turns, length=length, trained=131072)
    if known.fits:
        return
    words = known.before().replace(",", "").split()
    if "--last" in words:
        last = int(words[words.index("--last") + 1])
        assert 0 < last < count
        assert check(turns[-last:], length=length, trained=131072).fits
    num_ctx = int(words[words.index("num_ctx") + 1].rstrip("."))
    assert check(turns, length=num_ctx, trained=131072).fits


def test_the_advised_context_is_within_the_trained_length():
    turns = [a_turn(n) for n in range(50)]
    assert "num_ctx" not in check(turns, length=2048, trained=2048).before()
    assert "num_ctx" not in check(turns, length=2048, trained=4096).before()
    assert "num_ctx 8192" in check(turns, length=2048, trained=8192).before()
    assert "num_ctx 7000" in check(turns[:45], length=2048, trained=7000).before()


def test_fewer_turns_are_not_advised_if_the_prompt_alone_is_too_long():
    prompt = {"role": "user", "content": "word " * 1000}
    known = check_context([a_turn()], [prompt], options={}, length=512, trained=512)
    assert known.before().endswith("Run the cell again with a shorter prompt.")


def test_an_unknown_length_gives_no_early_warning():
    known = check([a_turn(n) for n in range(50)])
    assert (known.fits, known.before()) == (None, "")
    assert known.verdict() == "whether it fits is unknown until the model is loaded"
    short = check([a_turn(n) for n in range(50)], trained=8192)
    assert (short.fits, short.before()) == (None, "")


def test_more_than_the_trained_length_never_fits():
    known = check([a_turn(n) for n in range(50)], trained=2048)
    assert "the model was trained for 2,048" in known.before()


def test_the_context_length_after_the_reply_is_used():
    """The model was not loaded before; the server chose a small context for it."""
    known = check([a_turn(n) for n in range(50)], trained=131072)
    said = known.after(counted(2000), "stop", 2048)
    assert said.startswith("The server dropped the beginning of the chat: about ")
    assert "but only 2,000 were read (context 2,048)" in said
    assert "--new or -o num_ctx 16384." in said
    assert known.after(counted(known.size), "stop", 131072) == ""


def test_fewer_tokens_than_at_the_last_turn_give_a_notice():
    """Each turn counts at least as many tokens as the one before it."""
    turns = [a_turn(n) for n in range(6)]
    last = a_turn(7, stats=counted(900, 60))
    known = check([*turns, last], length=1024, counted=last)
    assert "The server dropped the beginning" in known.after(counted(930), "stop")
    assert known.after(counted(975), "stop") == ""


def test_a_chat_larger_than_the_context_was_probably_cut():
    known = check([a_turn(n) for n in range(9)], length=1024, trained=8192)
    assert 1024 < known.size < 1300
    said = known.after(counted(1000), "stop")
    assert said.startswith("The server probably dropped the beginning of the chat")
    assert known.after(counted(known.size), "stop", 2048) == ""


def test_counts_of_a_stale_turn_are_ignored():
    last = a_turn(7, stats=counted(900, 60), based_on="an older text")
    known = check([a_turn(1), last], length=1024, counted=last)
    assert known.at_least == 0
    assert known.after(counted(300), "stop") == ""


def test_counted_thinking_is_not_part_of_the_next_request():
    last = a_turn("thinker", words=10, thinking="hm " * 500, stats=counted(20, 800))
    known = check([last], length=1024, counted=last)
    assert known.size < 100
    assert known.after(counted(60), "stop") == ""


def test_the_counts_include_what_the_template_adds():
    last = a_turn(words=2, stats=counted(200, 5))
    assert check([last], counted=last).size > 205


def test_small_counts_prove_nothing_if_the_length_is_unknown():
    """A server may count only what it had not seen before."""
    small = check([a_turn(n) for n in range(5)])
    assert small.after(counted(12), "stop") == ""
    large = check([a_turn(n) for n in range(50)])
    assert "dropped" in large.after(counted(2000), "stop")


def test_without_counts_the_early_warning_stays():
    known = check([a_turn(n) for n in range(20)], length=1024)
    assert known.after(Stats(), "") == known.before() != ""


@pytest.mark.parametrize(
    ("stats", "done_reason", "options", "said"),
    [
        (
            counted(500, 520),
            "length",
            {},
            "The reply was cut off: the context of 1,024",
        ),
        (counted(500, 520), "length", {"num_predict": 520}, ""),
        (counted(500, 520), "length", {"num_predict": 900}, "The reply was cut"),
        (counted(500, 60), "length", {}, ""),
        (counted(500, 520), "stop", {}, ""),
        (counted(500, 700), "stop", {}, "Chat and reply exceeded the context of 1,024"),
    ],
    ids=["full", "num_predict", "before num_predict", "short", "stop", "shifted"],
)
def test_a_reply_that_fills_the_context_gets_a_notice(
    stats, done_reason, options, said
):
    turns = [a_turn(n) for n in range(4)]
    known = check(turns, length=1024, options=options)
    found = known.after(stats, done_reason)
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_the_context_length_is_that_of_the_request_or_of_the_loaded_model():
    def known(options, asked_with=(), loaded=4096):
        return length_in_force(
            options, loaded=loaded, trained=8192, asked_with=dict(asked_with)
        )

    assert known({"num_ctx": 512}) == 512
    assert known({"num_ctx": 100_000}) == 8192
    assert known({}) == 4096
    assert known({}, loaded=0) == 0
    # The server reloads the model with a default context that it does not report.
    assert known({}, {"num_ctx": 4096}) == 0
    assert known({"num_ctx": True}) == 4096


def test_a_chat_is_measured_only_as_far_as_it_matters():
    known = check([a_turn(n) for n in range(10_000)], length=4096, trained=8192)
    assert len(known.turns) < 400
    assert known.size_text.startswith("over 32,")
    assert "num_ctx" not in known.before()


def test_the_context_in_use_is_shown_as_text():
    chat = Chat("main", (a_turn(words=10, stats=counted(1200, 34)),))
    assert describe_use(Chat("main"), 4096) == ""
    assert describe_use(chat, 4096) == (
        "1,234 of 4,096 tokens (30%) at the last turn; "
        "the chat now: about 1,234 (estimate)"
    )
    assert describe_use(chat, 0).startswith("1,234 tokens at the last turn")


def test_the_size_of_a_request_is_the_sum_of_its_parts():
    assert ContextCheck(turns=(3, 4), rest=5).size == 12
