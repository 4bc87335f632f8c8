"""Structured output as a person asks for it, through a real kernel."""

import json

import pytest
from fake_ollama import Answer, reply_line

GOOD = '{"name": "Ada", "age": 36}'
SPEC = "--schema 'name, age int'"


def answers(fake_ollama, *texts, **end):
    """Answer one chat after the other."""

    def lines(text):
        body = {"model": "llama3.2:3b", "messages": []}
        return [reply_line(body, content=text), reply_line(body, done=True, **end)]

    fake_ollama.on("POST /api/chat", *(Answer(lines(text)) for text in texts))


def test_the_schema_is_sent_and_the_data_comes_back(kernel, fake_ollama):
    answers(fake_ollama, GOOD)
    ran = kernel.run(f"%%ollama who << {SPEC}\nWho?")
    assert ran.status == "ok", ran.error
    (body,) = fake_ollama.bodies("/api/chat")
    assert body["format"]["properties"] == {
        "name": {"type": "string"},
        "age": {"type": "integer"},
    }
    assert kernel.run("print(who.data['age'] + 1)").streams == "37\n"
    assert "asked twice" not in ran.text


def test_one_that_is_wrong_is_asked_for_once_more_and_leaves_no_trace(
    kernel, fake_ollama
):
    answers(fake_ollama, '{"name": "Ada"}', GOOD)
    ran = kernel.run(f"%%ollama who << {SPEC}\nWho?")
    assert "asked twice to get it right" in ran.html
    first, second = fake_ollama.bodies("/api/chat")
    assert len(first["messages"]) == 1
    assert second["messages"][1] == {"role": "assistant", "content": '{"name": "Ada"}'}
    assert "'age' is a required property" in second["messages"][2]["content"]
    assert second["format"] == first["format"]
    assert kernel.run("print(who.data)").streams == "{'name': 'Ada', 'age': 36}\n"
    kernel.run("%%ollama\nAnd?")
    assert [m["content"] for m in fake_ollama.bodies("/api/chat")[-1]["messages"]] == [
        "Who?",
        GOOD,
        "And?",
    ]


def test_one_that_stays_wrong_is_kept_and_says_so(kernel, fake_ollama):
    answers(fake_ollama, "no", "still no")
    ran = kernel.run(f"%%ollama who << {SPEC}\nWho?")
    assert ran.status == "ok"
    assert "does not follow its schema" in ran.text
    assert len(fake_ollama.bodies("/api/chat")) == 2
    assert kernel.run("print(who.text)").streams == "still no\n"
    error = kernel.run("who.data").error
    assert "ReplyDataError" in error
    assert "next:" in error


def test_one_that_is_cut_is_not_asked_again(kernel, fake_ollama):
    answers(fake_ollama, '{"name": "A', done_reason="length")
    ran = kernel.run(f"%%ollama {SPEC}\nWho?")
    assert "-o num_predict N" in ran.text
    assert len(fake_ollama.bodies("/api/chat")) == 1


def test_a_second_answer_that_breaks_off_does_not_lose_the_first(kernel, fake_ollama):
    body = {"model": "llama3.2:3b", "messages": []}
    first = Answer([reply_line(body, content="no"), reply_line(body, done=True)])
    fake_ollama.on("POST /api/chat", first, Answer([{"error": "the runner died"}]))
    ran = kernel.run(f"%%ollama {SPEC}\nWho?")
    assert ran.status == "error"
    assert "no" in ran.text.splitlines()
    assert "the runner died" in ran.error


def test_a_one_off_is_repaired_too(kernel, fake_ollama):
    replies = iter(["no", GOOD])
    fake_ollama.chat(
        lambda body: [
            reply_line(body, body["model"], content=next(replies)),
            reply_line(body, body["model"], done=True),
        ]
    )
    kernel.run(f"%%ollama who << -1 {SPEC}\nWho?")
    assert len(fake_ollama.bodies("/api/generate")) == 1
    assert len(fake_ollama.bodies("/api/chat")) == 1
    assert kernel.run("print(who.data['name'])").streams == "Ada\n"


def test_a_class_of_the_notebook_is_the_schema_and_the_data(kernel, fake_ollama):
    answers(fake_ollama, GOOD)
    kernel.run(
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Person:\n    name: str\n    age: int"
    )
    kernel.run("%%ollama who << --schema Person\nWho?")
    assert kernel.run("print(who.data)").streams == "Person(name='Ada', age=36)\n"


def test_a_list_becomes_a_data_frame(kernel, fake_ollama):
    pytest.importorskip("pandas")
    answers(fake_ollama, json.dumps([{"n": 1}, {"n": 2}]))
    kernel.run("%%ollama rows << --schema '[n int]'\nCount.")
    assert kernel.run("print(rows.to_frame()['n'].sum())").streams == "3\n"


def test_the_setting_of_thinking_does_not_spoil_it_and_the_option_counts(
    kernel, fake_ollama
):
    fake_ollama.models(
        [{"name": "llama3.2:3b", "capabilities": ["completion", "thinking"]}]
    )
    kernel.run("%config OllamaMagics.think = False")
    answers(fake_ollama, GOOD)
    kernel.run(f"%%ollama {SPEC}\nWho?")
    assert "think" not in fake_ollama.bodies("/api/chat")[-1]
    kernel.run(f"%%ollama --think {SPEC}\nWho?")
    assert fake_ollama.bodies("/api/chat")[-1]["think"] is True


@pytest.mark.parametrize("spec", ["nosuch", "'age integer'", '\'{"type": "objekt"}\''])
def test_a_schema_that_cannot_be_used_sends_nothing(kernel, fake_ollama, spec):
    ran = kernel.run(f"%%ollama --schema {spec}\nWho?")
    assert ran.status == "error"
    assert "next:" in ran.error
    assert fake_ollama.bodies("/api/chat") == []


def test_a_dry_run_shows_the_schema(kernel):
    ran = kernel.run(f"%%ollama --dry-run {SPEC}\nWho?")
    assert '"format": {' in ran.text
    assert '"required"' in ran.text


def test_files_and_tables_are_sent_and_told(kernel, fake_ollama, tmp_path):
    pytest.importorskip("pandas")
    path = tmp_path / "notes.txt"
    path.write_text("Be {{ nice }}.")
    kernel.run("import pandas\ndf = pandas.DataFrame({'n': range(99)})")
    ran = kernel.run(f"%%ollama -F {path}\nWhat of {{{{ df }}}}?")
    assert ran.status == "ok", ran.error
    content = fake_ollama.bodies("/api/chat")[-1]["messages"][-1]["content"]
    assert content.startswith("File notes.txt:\n```txt\nBe {{ nice }}.\n```\n\nWhat of")
    assert "DataFrame of 99 rows" in content
    assert "df (15 of 99 rows)" in ran.html
    assert "notes.txt" in ran.html
    missing = kernel.run("%%ollama -F nosuch.txt\nHi")
    assert "cannot be read" in missing.error
