"""Nothing is lost silently: what happens to prompts that do not fit the context."""

import pytest
from fake_ollama import error, json_answer, recorded_answer

import ollama_magic
from ollama_magic.errors import ConfigError, ContextExceededError
from ollama_magic.generation.dry_run import request_text
from ollama_magic.generation.options import ChatOptions
from ollama_magic.generation.session import current_session
from ollama_magic.generation.settings import Settings, merged

LONG = "word " * 400
WORDS = "What do you think of the seven hills of Rome? " * 20


@pytest.fixture(autouse=True)
def script(fake_ollama, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", fake_ollama.url)
    return fake_ollama


def loads_with(fake_ollama, length):
    loaded = {"name": "llama3.2:3b", "context_length": length}
    fake_ollama.on("GET /api/ps", json_answer({"models": [loaded]}))


@pytest.mark.parametrize(
    ("setting", "option", "schema", "expected"),
    [
        ("", None, None, "warn"),
        ("", None, "age int", "error"),
        ("warn", None, "age int", "warn"),
        ("error", None, None, "error"),
        ("error", "warn", "age int", "warn"),
        ("warn", "error", None, "error"),
    ],
)
def test_data_are_an_error_by_default_and_an_option_overrides(
    setting, option, schema, expected
):
    options = ChatOptions(truncate=option, schema=schema)
    assert merged(Settings(truncate=setting), options).truncate == expected


def test_truncate_is_checked_and_sent_only_as_false(script):
    script.reply('{"age": 3}')
    ollama_magic.ask("Hi")
    ollama_magic.ask("Hi", schema="age int")
    ollama_magic.chat("Hi", truncate="error")
    with pytest.raises(ConfigError) as caught:
        ollama_magic.ask("Hi", truncate="eror")
    assert caught.value.next_step == "truncate='error'"
    bodies = script.bodies("/api/generate") + script.bodies("/api/chat")
    assert [body.get("truncate") for body in bodies] == [None, False, False]


def test_a_refused_prompt_says_how_many_tokens_are_too_many(script):
    answer = recorded_answer("generate_long_prompt_no_truncate")
    script.on("POST /api/generate", answer)
    with pytest.raises(ContextExceededError) as caught:
        ollama_magic.ask(LONG, truncate="error", options={"num_ctx": 128})
    assert caught.value.lines() == [
        "The prompt is longer than the context of 'llama3.2:3b'.",
        "  why:  server (400): request (410 tokens) exceeds the available context size "
        "(256 tokens), try increasing it",
        "  next: 154 tokens too many; run the cell again with a shorter prompt or "
        "-o num_ctx 1024",
    ]


def test_a_refused_chat_names_the_turns_that_fit_and_is_unchanged(script):
    for _ in range(6):
        ollama_magic.chat(WORDS)
    words = "request (1500 tokens) exceeds the available context size (1024 tokens)"
    script.on("POST /api/chat", error(400, words))
    with pytest.raises(ContextExceededError) as caught:
        ollama_magic.chat("And now?", truncate="error")
    assert caught.value.next_step == (
        "476 tokens too many; run the cell again with --last 3, --new or "
        "-o num_ctx 2048"
    )
    assert len(current_session().chat().turns) == 6


def test_a_refusal_without_numbers_uses_the_estimate(script):
    script.on("POST /api/generate", recorded_answer("generate_long_prompt_no_shift"))
    with pytest.raises(ContextExceededError) as caught:
        ollama_magic.ask(LONG, truncate="error", options={"num_ctx": 128})
    assert caught.value.next_step == (
        "run the cell again with a shorter prompt or -o num_ctx 1024"
    )


@pytest.mark.parametrize("version", ["0.12.3", "unknown", "0.33.0", "0.0.0-embedded"])
def test_a_server_that_ignores_truncate_is_found_out_after_the_reply(script, version):
    """The reply is kept as a turn that was broken off; newer servers are trusted."""
    script.on("GET /api/version", json_answer({"version": version}))
    loads_with(script, 128)
    script.reply("Hm.", stats={"prompt_eval_count": 66, "eval_count": 1})
    if version in {"0.33.0", "0.0.0-embedded"}:
        reply = ollama_magic.chat(LONG, truncate="error")
        assert (reply.status, reply.notice) == ("complete", "")
        return
    with pytest.raises(ContextExceededError) as caught:
        ollama_magic.chat(LONG, truncate="error")
    assert caught.value.lines() == [
        "A part of the prompt was lost.",
        "  why:  The server dropped part of the prompt: about 486 tokens were sent, "
        "but only 66 were read (context 128).",
        "  next: run the cell again with a shorter prompt or -o num_ctx 1024",
    ]
    (turn,) = current_session().chat().turns
    assert (turn.reply, turn.status) == ("Hm.", "broken")


def test_a_chat_that_outgrows_its_context_while_it_is_written_is_an_error(script):
    loads_with(script, 256)
    script.reply("Hm.", stats={"prompt_eval_count": 100, "eval_count": 300})
    with pytest.raises(ContextExceededError, match="exceeded the context of 256"):
        ollama_magic.ask("Count.", truncate="error")
    assert "exceeded the context" in ollama_magic.ask("Count.").notice


def test_a_dry_run_says_that_the_server_will_refuse():
    options = ChatOptions(truncate="error", options={"num_ctx": 128}, model="m")
    text = request_text(current_session(), options, LONG)
    assert "\ntruncate: false\n" in text
    assert "The server will refuse it. Run the cell again with a shorter" in text
