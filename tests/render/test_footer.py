"""What the footer says, and what it keeps quiet about."""

from ollama_magic.client.types import Stats
from ollama_magic.render.reply import FooterFacts, footer_parts

STATS = Stats(
    load_duration_ns=2_100_000_000,
    prompt_eval_count=3000,
    eval_count=100,
    eval_duration_ns=2_000_000_000,
)


def test_a_plain_answer_names_model_turn_tokens_and_speed():
    facts = FooterFacts("m", "turn 1 of main", Stats(eval_count=5), "stop")
    assert footer_parts(facts) == ("m", "turn 1 of main", "5 tokens")


def test_what_matters_is_told():
    facts = FooterFacts(
        "m", "once", STATS, "length", 4096, "answered at http://gpu:11434", ("df",)
    )
    assert footer_parts(facts) == (
        "m",
        "once",
        "100 tokens",
        "50 tokens/s",
        "loaded in 2.1 s",
        "context 76% of 4,096",
        "cut off at num_predict",
        "filled in: df",
        "answered at http://gpu:11434",
    )


def test_an_unknown_context_is_not_guessed():
    assert FooterFacts("m", "once", STATS).context_share is None
