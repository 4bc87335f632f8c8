"""What the footer shows, and what it leaves out."""

from ollama_magic.client.types import Stats
from ollama_magic.generation.reply import context_share, footer_parts
from ollama_magic.generation.response import Result
from ollama_magic.history.turns import Turn

STATS = Stats(
    load_duration_ns=2_100_000_000,
    prompt_eval_count=3000,
    eval_count=100,
    eval_duration_ns=2_000_000_000,
)


def test_a_plain_reply_shows_model_turn_tokens_and_speed():
    turn = Turn(model="m", stats=Stats(eval_count=5), done_reason="stop")
    parts = footer_parts(turn, Result((), ()), "turn 1 of main")
    assert parts == ("m", "turn 1 of main", "5 tokens")


def test_unusual_facts_are_shown():
    turn = Turn(model="m", stats=STATS, done_reason="unload")
    result = Result((), (), server_note="answered at http://gpu", context_length=4096)
    assert footer_parts(turn, result, "once", ("df",)) == (
        "m",
        "once",
        "100 tokens",
        "50 tokens/s",
        "loaded in 2.1 s",
        "context 76% of 4,096",
        "unloaded",
        "filled in: df",
        "answered at http://gpu",
    )


def test_an_unknown_context_is_not_guessed():
    assert context_share(Turn(model="m", stats=STATS), Result((), ())) is None
