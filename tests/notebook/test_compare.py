"""One prompt to several models: the output, and the turn in the chat."""

import json
import re
import threading
from functools import partial

import pytest
from fake_ollama import RESET, Answer, Wait, error, reply_line

A, B = "llama3.2:3b", "qwen3:4b"
SPEED = {"eval_count": 7, "eval_duration": 350_000_000}


@pytest.fixture
def two(fake_ollama):
    """Give the server two models."""
    fake_ollama.models([A, B])
    return fake_ollama


def answers(fake_ollama, **by_model):
    """Script each model with a function that makes its steps."""
    made = {A: by_model["a"], B: by_model["b"]}

    def answer(body):
        steps = made[body["model"]](partial(reply_line, body))
        return steps if isinstance(steps, Answer) else Answer(steps)

    fake_ollama.chat(answer)


def says(text):
    return lambda line: [line(content=text), line(done=True)]


def both(kernel, prompt="Hi", options=f"--compare {A},{B}", cell_id=None, **more):
    return kernel.run(f"%%ollama {options}\n{prompt}", cell_id, **more)


def asked(fake_ollama):
    """Return the messages of the last request."""
    body = fake_ollama.bodies("/api/chat")[-1]
    return [(message["role"], message["content"]) for message in body["messages"]]


def history(kernel):
    return kernel.run("%ollama history").text


@pytest.mark.parametrize(
    "options", [f"--compare {A},{B}", f"-m {A} -m {B}", f"{A} -m {B}"]
)
def test_both_replies_are_one_output_with_readable_text(kernel, two, options):
    answers(two, a=says("I am **A**."), b=says("I am B."))
    ran = both(kernel, options=options)
    assert ran.status == "ok", ran.error
    (output,) = ran.outputs
    assert set(output["data"]) == {"text/html", "text/plain"}
    assert "<strong>A</strong>" in ran.html
    assert "grid-template-columns" in ran.html
    first, second, note = ran.text.split("\n\n## ")[0], *ran.text.partition("## q")[1:]
    assert first.startswith(f"## {A}\n\nI am **A**.")
    assert re.sub(r"<?[\d.]+ s", "[time]", second + note) == (
        f"## {B}\n\nI am B.\n\n[time]\n\ncontinue with one of these: %ollama keep MODEL"
    )


def test_both_stream_at_once(kernel, two):
    """The second stream is read while the first one is silent."""
    first, second = threading.Event(), threading.Event()
    answers(
        two,
        a=lambda line: [Wait(first), line(content="Late."), line(done=True)],
        b=lambda line: [line(content="Early"), Wait(second), line(done=True)],
    )
    seen = []

    def watch(ran):
        if "Early" in ran.html and not first.is_set():
            seen.append((ran.html, len(ran.outputs)))
            first.set()
        elif "Late." in ran.html and not second.is_set():
            seen.append((ran.html, len(ran.outputs)))
            second.set()

    ran = kernel.collect(kernel.send(f"%%ollama --compare {A},{B}\nHi"), until=watch)
    assert ran.status == "ok"
    assert len(ran.outputs) == 1
    (early, outputs), (late, _) = seen
    assert outputs == 1
    assert f"loading {A} (2.0 GB)… " in early
    assert "Early" in late


def test_the_models_are_listed_once_before_anything_is_sent(kernel, two):
    both(kernel)
    paths = [request.path for request in two.requests]
    assert paths.count("/api/tags") == 1
    assert paths.index("/api/tags") < paths.index("/api/chat")


@pytest.mark.parametrize(
    ("models", "options", "words"),
    [
        ([A, B], f"--compare {A},nosuch:1b", "ModelNotFoundError: Model 'nosuch:1b'"),
        (
            [A, {"name": B, "capabilities": ["embedding"]}],
            f"--compare {A},{B}",
            f"CapabilityError: Model '{B}' does not support chat.",
        ),
        (
            [{"name": A, "capabilities": ["completion", "thinking"]}, B],
            f"--compare {A},{B} --think",
            f"CapabilityError: Model '{B}' does not support thinking",
        ),
    ],
    ids=["missing", "no chat", "no thinking"],
)
def test_a_model_that_cannot_chat_is_an_error_and_nothing_is_sent(
    kernel, fake_ollama, models, options, words
):
    fake_ollama.models(models)
    ran = both(kernel, options=options)
    assert ran.status == "error"
    assert ran.error.startswith(words)
    assert fake_ollama.bodies("/api/chat") == []
    assert [output["type"] for output in ran.outputs] == ["error"]


def test_a_server_that_lists_no_models_can_still_reply(kernel, two):
    two.on("GET /api/tags", error(403, "no"))
    two.on("POST /api/show", error(403, "no"))
    ran = both(kernel)
    assert ran.status == "ok", ran.error
    assert ran.text.count("Hello!") == 2


def test_each_column_has_its_own_counts(kernel, fake_ollama):
    cloud = {"name": B, "remote_host": "https://ollama.com", "remote_model": "q"}
    fake_ollama.models([A, cloud])
    fake_ollama.reply("Hi", stats={"eval_count": 8, "eval_duration": 400_000_000})
    ran = both(kernel)
    first, second = ran.text.split(f"## {B}")
    assert first.rstrip().endswith(" s · 20 tokens/s")
    assert " s · 20 tokens/s · cloud model, answered at" in second
    assert "turn" not in first
    quiet = both(kernel, options=f"--compare {A},{B} -q")
    assert quiet.text == f"## {A}\n\nHi\n\n## {B}\n\nHi"


def test_an_interrupt_closes_both_streams_and_keeps_the_partial_replies(kernel, two):
    never = threading.Event()
    answers(
        two,
        a=lambda line: [line(content="Once upon"), Wait(never)],
        b=lambda line: [line(content="There was"), Wait(never)],
    )
    msg_id = kernel.send(f"%%ollama --compare {A},{B}\nA story?", "cell")
    kernel.collect(
        msg_id, until=lambda ran: {"Once upon", "There was"} <= set(words(ran))
    )
    kernel.manager.interrupt_kernel()
    ran = kernel.collect(msg_id)
    for count in (1, 2):
        assert two.wait_for("/api/chat", count=count).wait_closed()
    assert ran.status == "error"
    assert ran.error is None
    assert ran.text.count("[interrupted]") == 2
    assert "Once upon" in ran.html
    assert "There was" in ran.html
    told = ran.provenance["compared"]
    assert [one["status"] for one in told] == ["interrupted"] * 2
    kept = kernel.run(f"%ollama keep {A}")
    assert kept.text == "Once upon\n\n[interrupted]\nTo go on: %ollama continue"
    assert kept.provenance["status"] == "interrupted"


def words(ran):
    return [word for word in ("Once upon", "There was") if word in ran.html]


def test_a_complete_reply_stays_complete_when_the_other_is_interrupted(kernel, two):
    never = threading.Event()
    answers(
        two,
        a=lambda line: [line(content="All."), line(done=True, **SPEED)],
        b=lambda line: [Wait(never)],
    )
    msg_id = kernel.send(f"%%ollama --compare {A},{B}\nHi", "cell")
    kernel.collect(msg_id, until=lambda ran: "20 tokens/s" in ran.html)
    kernel.manager.interrupt_kernel()
    ran = kernel.collect(msg_id)
    told = ran.provenance["compared"]
    assert [one["status"] for one in told] == ["complete", "interrupted"]
    refused = kernel.run(f"%ollama keep {B}")
    assert refused.error == (
        f"ConfigError: The reply of '{B}' is empty and cannot be kept.\n"
        f"  why:  interrupted\n  next: %ollama keep {A}"
    )
    assert kernel.run(f"%ollama keep {A}").provenance["status"] == "complete"


def test_an_interrupt_before_the_first_token_leaves_no_output(kernel, two):
    never = threading.Event()
    answers(two, a=lambda line: [Wait(never)], b=lambda line: [Wait(never)])
    msg_id = kernel.send(f"%%ollama --compare {A},{B}\nHi")
    two.wait_for("/api/chat", count=2)
    kernel.manager.interrupt_kernel()
    ran = kernel.collect(msg_id)
    assert [output["type"] for output in ran.outputs] == ["error"]
    assert ran.error.startswith("Interrupted: ")


def test_a_model_that_fails_shows_its_error_and_the_other_continues(kernel, two):
    answers(
        two,
        a=lambda line: [line(content="Half a"), {"error": "out of <b>memory</b>"}],
        b=says("Whole."),
    )
    ran = both(kernel)
    assert ran.status == "ok"
    first, second = ran.text.split(f"## {B}")
    assert first.startswith(f"## {A}\n\nHalf a\n\nServerError: ")
    assert "\n  why:  server (mid-stream): out of <b>memory</b>\n  next: " in first
    assert "out of &lt;b&gt;memory" in ran.html
    assert "Whole." in second


def test_a_partial_reply_can_be_kept(kernel, two):
    answers(two, a=lambda line: [line(content="Half a"), RESET], b=says("Whole."))
    both(kernel, cell_id="cell")
    kept = kernel.run(f"%ollama keep {A}")
    assert kept.status == "ok", kept.error
    assert kept.provenance["status"] == "broken"
    assert kept.text.startswith("Half a\n\n[incomplete: ")


def test_if_all_models_fail_the_first_error_is_raised(kernel, two):
    answers(
        two,
        a=lambda line: error(500, "the first reason"),
        b=lambda line: error(500, "the second reason"),
    )
    ran = both(kernel)
    assert ran.status == "error"
    assert "the first reason" in ran.error
    assert "the first reason" in ran.text.partition(f"## {B}")[0]
    assert "the second reason" in ran.text.partition(f"## {B}")[2]
    assert kernel.run(f"%ollama keep {A}").error.startswith("ConfigError: The reply of")


def test_no_turn_is_written_until_a_reply_is_kept(kernel, two):
    answers(two, a=says("I am A."), b=says("I am B."))
    both(kernel, "Who are you?", cell_id="compares")
    assert "Who are you?" not in history(kernel)
    kept = kernel.run(f"%ollama keep {B}", "keeps")
    assert kept.status == "ok", kept.error
    assert kept.text == "I am B."
    assert kept.place == "turn 1 of main"
    assert f"compared with {A}" in kept.html
    assert len(kept.outputs) == 1
    kernel.run("%%ollama\nAnd now?", "next")
    assert two.bodies("/api/chat")[-1]["model"] == B
    assert asked(two) == [
        ("user", "Who are you?"),
        ("assistant", "I am B."),
        ("user", "And now?"),
    ]


def test_keeping_another_reply_replaces_the_first_in_place(kernel, two):
    answers(two, a=says("I am A."), b=says("I am B."))
    both(kernel, "Who?", cell_id="compares")
    kernel.run(f"%ollama keep {A}", "keeps")
    kernel.run("%%ollama\nnext?", "next")
    kept = kernel.run(f"%ollama keep {B}", "keeps")
    assert kept.place == "turn 1 of main"
    kernel.run("%%ollama\nlast?", "last")
    assert asked(two)[:3] == [
        ("user", "Who?"),
        ("assistant", "I am B."),
        ("user", "next?"),
    ]
    assert "stale" in history(kernel)


def test_keeping_another_reply_replaces_the_first_without_cell_ids_too(kernel, two):
    answers(two, a=says("I am A."), b=says("I am B."))
    both(kernel, "Who?")
    kernel.run(f"%ollama keep {A}")
    kernel.run("%%ollama\nnext?")
    assert kernel.run(f"%ollama keep {B}").place == "turn 1 of main"
    both(kernel, "Who again?")
    assert kernel.run(f"%ollama keep {B}").place == "turn 3 of main"


def test_a_comparison_that_is_re_run_sends_the_turns_before_it(kernel, two):
    """Restart and Run All, with the cell that keeps, gives the same chat once."""
    answers(two, a=says("I am A."), b=says("I am B."))
    kernel.run("%%ollama\nfirst?", "first")
    for _ in range(2):
        both(kernel, "Who?", cell_id="compares")
        assert [text for role, text in asked(two) if role == "user"] == [
            "first?",
            "Who?",
        ]
        kept = kernel.run(f"%ollama keep {A}", "keeps")
        assert kept.place == "turn 2 of main"


def test_a_turn_that_is_kept_after_later_turns_is_stale(kernel, two):
    """The reply was made for the chat as it was when the models were asked."""
    answers(two, a=says("I am A."), b=says("I am B."))
    both(kernel, "Who?", cell_id="compares")
    kernel.run("%%ollama\nbetween?", "between")
    kernel.run(f"%ollama keep {A}", "keeps")
    assert "stale" in history(kernel)


def test_keep_uses_the_chat_and_the_new_start_of_the_comparison(kernel, two):
    kernel.run("%%ollama\nold?", "old")
    both(kernel, "new?", f"--compare {A},{B} --new -c other -s Terse.", "compares")
    kept = kernel.run(f"%ollama keep {A}", "keeps")
    assert (kept.provenance["chat"], kept.provenance["starts_afresh"]) == (
        "other",
        True,
    )
    assert kept.place == "turn 1 of other"
    kernel.run("%%ollama -c other\nnext?", "next")
    assert asked(two)[:2] == [("system", "Terse."), ("user", "new?")]


def test_a_second_prompt_of_the_same_run_is_another_turn(kernel, two):
    code = (
        f"get_ipython().run_cell_magic('ollama', '--compare {A},{B}', 'compared?')\n"
        "get_ipython().run_line_magic('ollama', 'ask then?')\n"
    )
    kernel.run(code, "cell")
    kernel.run(f"%ollama keep {A}", "keeps")
    kernel.run("%%ollama\nlast?", "last")
    questions = [text for role, text in asked(two) if role == "user"]
    assert questions == ["then?", "compared?", "last?"]


def test_keep_shows_the_turn_even_without_a_footer(kernel, two):
    kernel.run("%config OllamaMagics.footer = False")
    ran = both(kernel, cell_id="cell")
    assert "keep MODEL" not in ran.text
    assert kernel.run(f"%ollama keep {A}").place == "turn 1 of main"
    kernel.run("%config OllamaMagics.footer = True")


def test_keep_without_a_comparison_says_how_to_compare(kernel):
    assert kernel.run("%ollama keep x").error == (
        "ConfigError: There is no comparison to keep a reply from.\n"
        "  why:  no models have been compared since the kernel started\n"
        "  next: %%ollama --compare MODEL,MODEL   with a prompt below it"
    )


def test_keep_with_a_wrong_name_lists_the_models(kernel, two):
    both(kernel)
    assert kernel.run("%ollama keep qwen4:4b").error == (
        "ConfigError: Model 'qwen4:4b' was not compared.\n"
        f"  why:  the last comparison had: {A}, {B}\n"
        f"  next: %ollama keep {B}"
    )


def test_a_comparison_with_once_cannot_be_kept(kernel, two):
    ran = both(kernel, options=f"--compare {A},{B} --once")
    assert len(two.bodies("/api/generate")) == 2
    assert ran.text.count(" s · 20 tokens/s") == 2
    assert "keep MODEL" not in ran.text
    assert "--once" in kernel.run(f"%ollama keep {A}").error


def test_a_dry_run_shows_both_requests_and_sends_none(kernel, two):
    ran = both(kernel, options=f"--compare {A},{B} --dry-run")
    assert f"\nmodel: {A}\n" in ran.text
    assert f"\nmodel: {B}\n" in ran.text
    assert two.bodies("/api/chat") == []


def test_a_comparison_makes_a_data_frame(kernel, two):
    pytest.importorskip("pandas")
    answers(two, a=says("I am A."), b=says("I am B."))
    both(kernel, options=f"c << --compare {A},{B}")
    code = "frame = c.to_frame()\nprint(list(frame.columns), frame['tokens'].tolist())"
    assert kernel.run(code).streams == (
        "['model', 'text', 'prompt tokens', 'cached tokens', 'tokens', 'tokens/s', "
        "'seconds', 'status'] [0, 0]\n"
    )


def test_the_beginning_of_a_name_is_enough_to_keep_a_reply(kernel, two):
    both(kernel)
    assert kernel.run("%ollama keep qw").provenance["model"] == B


def test_the_comparison_is_a_value(kernel, two):
    answers(two, a=says("I am A."), b=says("I am B."))
    both(kernel, options=f"c << --compare {A},{B}")
    code = (
        "print([reply.text for reply in c], len(c), c['QWEN3:4B'].text)\n"
        "assert [c[0], c[-1]] == list(c)\n"
        "print(type(c).__name__, c['llama3.2:3b'].status)\n"
    )
    assert kernel.run(code).streams == (
        "['I am A.', 'I am B.'] 2 I am B.\nComparison complete\n"
    )
    missing = kernel.run("c['nosuch']").error
    assert f"nosuch was not compared; only {A}, {B}" in missing
    shown = kernel.run("c")
    assert shown.text.startswith(f"## {A}\n\nI am A.")
    assert len(shown.outputs) == 1
    one = kernel.run(f"c['{A}']")
    assert one.provenance["chat"] is None


def test_a_line_can_compare_too(kernel, two):
    ran = kernel.run(f"%ollama ask --compare {A},{B} What's up?")
    assert ran.text.startswith(f"## {A}\n\nHello!")
    assert len(ran.outputs) == 1
    assert asked(two) == [("user", "What's up?")]


def test_a_reply_that_does_not_match_its_schema_says_so_in_its_column(kernel, two):
    answers(two, a=says('{"age": 36}'), b=says('{"age": "old"}'))
    ran = both(kernel, options=f"c << --compare {A},{B} --schema 'age int'")
    first, second = ran.text.split(f"## {B}")
    assert "does not match" not in first
    assert "[does not match its schema: at age: 'old' is not of type 'integer']" in (
        second
    )
    assert len(two.bodies("/api/chat")) == 2
    assert kernel.run(f"print(c['{A}'].data)").streams == "{'age': 36}\n"


def test_thinking_is_folded_in_its_column_or_hidden(kernel, two):
    two.models(
        [{"name": n, "capabilities": ["completion", "thinking"]} for n in (A, B)]
    )
    two.reply("Yes", thinking="Let me see.")
    ran = both(kernel)
    assert ran.html.count("<details") == 2
    assert "Let me see." in ran.html
    hidden = both(kernel, options=f"--compare {A},{B} --hide-thinking")
    assert "Let me see." not in json.dumps([hidden.outputs, hidden.html])


def test_the_output_metadata_lists_the_models_and_restores_no_chat(
    kernel, two, tmp_path
):
    ran = both(kernel, "Who?", f"--compare {A},{B} -t 0", "compares")
    told = ran.provenance
    assert (told["kind"], told["prompt"], told["chat"]) == ("comparison", "Who?", None)
    assert [one["model"] for one in told["compared"]] == [A, B]
    assert "answered_at" not in told  # this key marks replies that belong to a chat
    for one in told["compared"]:
        assert one["digest"]
        assert one["host_kind"] == "loopback"
        assert one["options"] == {"temperature": 0}
        assert one["stats"]["eval_count"] == 8
        assert not {"reply", "thinking", "chat"} & set(one)
    kept = kernel.run(f"%ollama keep {B}", "keeps")
    notebook(tmp_path, compares=ran, keeps=kept)
    said = kernel.run("%ollama restore")
    assert said.text.startswith("Nothing to restore: the chat has all turns of")
    assert "could not be used" not in said.text


def test_a_kept_turn_is_restored_as_the_turn_of_the_comparing_cell(
    kernel, two, tmp_path
):
    """Also on another machine, where another choice replaces it."""
    answers(two, a=says("I am A."), b=says("I am B."))
    compared = both(kernel, "Who?", cell_id="compares")
    kept = kernel.run(f"%ollama keep {B}", "keeps")
    notebook(tmp_path, compares=compared, keeps=kept)
    other = str(tmp_path / "other.sqlite")
    kernel.run(f"%config OllamaMagics.history_file = {other!r}")
    assert "Restored 1 turn of 1 chat" in kernel.run("%ollama restore").text
    assert "I am B." in kernel.run("%ollama history").text
    both(kernel, "Who?", cell_id="compares")
    assert asked(two) == [("user", "Who?")]
    assert kernel.run(f"%ollama keep {A}", "keeps").place == "turn 1 of main"


def test_the_last_of_two_kept_replies_is_restored(kernel, two, tmp_path):
    answers(two, a=says("I am A."), b=says("I am B."))
    compared = both(kernel, "Who?", cell_id="compares")
    second = kernel.run(f"%ollama keep {B}", "keeps")
    first = kernel.run(f"%ollama keep {A}", "keeps-another")
    notebook(tmp_path, compares=compared, another=first, keeps=second)
    other = str(tmp_path / "other.sqlite")
    kernel.run(f"%config OllamaMagics.history_file = {other!r}")
    assert "Restored 1 turn of 1 chat" in kernel.run("%ollama restore").text
    kernel.run("%%ollama\nnext?", "next")
    assert asked(two)[1] == ("assistant", "I am A.")


def notebook(folder, **cells):
    """Save the outputs of cells as the notebook that the kernel belongs to."""
    made = [
        {
            "cell_type": "code",
            "id": cell_id,
            "metadata": {},
            "execution_count": 1,
            "source": "%%ollama" if cell_id == "compares" else "%ollama keep",
            "outputs": [
                {
                    "output_type": "display_data",
                    "data": output["data"],
                    "metadata": output["metadata"],
                }
                for output in ran.outputs
            ],
        }
        for cell_id, ran in cells.items()
    ]
    content = {"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (folder / "notebook.ipynb").write_text(json.dumps(content))
