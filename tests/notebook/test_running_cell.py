"""The outputs of ``%%ollama`` cells in a real kernel."""

import json
import re
import threading
from functools import partial

import pytest
from fake_ollama import Answer, Wait, error, json_answer, reply_line

line = partial(reply_line, {"model": "llama3.2:3b", "messages": []})


def ask(kernel, prompt="Hi", options="", cell_id=None, **more):
    return kernel.run(f"%%ollama {options}\n{prompt}", cell_id, **more)


def sent(fake_ollama, path="/api/chat"):
    return fake_ollama.bodies(path)[-1]


def messages(fake_ollama):
    body = sent(fake_ollama)
    return [(m["role"], m["content"]) for m in body["messages"]]


def test_the_reply_is_one_output_with_html_and_source(kernel, fake_ollama):
    fake_ollama.reply("Hello **world**")
    ran = ask(kernel)
    assert ran.status == "ok"
    (output,) = ran.outputs
    assert set(output["data"]) == {"text/html", "text/plain"}
    assert "<strong>world</strong>" in ran.html
    assert output["data"]["text/plain"] == "Hello **world**"


def test_the_output_metadata_has_prompt_and_model(kernel, fake_ollama):
    ran = ask(kernel, "Why?", "-t 0.5 --keep-alive 10m")
    known = ran.provenance
    assert known["model"] == "llama3.2:3b"
    assert known["digest"]
    assert known["host_kind"] == "loopback"
    assert known["prompt"] == "Why?"
    assert (known["chat"], known["turn"]) == ("main", 1)
    assert known["options"] == {"temperature": 0.5}
    assert known["keep_alive"] == "10m"
    assert known["stats"]["eval_count"] > 0


def test_the_footer_is_short_and_quiet_hides_it(kernel):
    ran = ask(kernel, cell_id="a")
    assert re.search(r">llama3.2:3b · (&lt;)?[\d.]+ s · 20 tokens/s</div>", ran.html)
    assert "llama3.2:3b" not in ask(kernel, options="-q").html


def test_the_footer_shows_the_place_of_a_turn_when_the_chat_changes(kernel):
    assert "turn" not in ask(kernel, cell_id="a").html
    assert "turn 1 of b" in ask(kernel, options="-c b", cell_id="b").html
    assert "turn 2 of b" in ask(kernel, options="-c b", cell_id="c").html
    assert "turn 2 of main" in ask(kernel, cell_id="d").html
    assert "turn" not in ask(kernel, cell_id="e").html
    kernel.run("%reload_ext ollama_magic")
    assert "turn 4 of main" in ask(kernel, cell_id="f").html


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("llama3.2:3b", "model", "llama3.2:3b"),
        ("-m llama3.2:3b", "model", "llama3.2:3b"),
        ("-t 0.2", "options", {"temperature": 0.2}),
        ("--seed 7", "options", {"seed": 7}),
        ("-o num_ctx 512 -o stop END", "options", {"num_ctx": 512, "stop": ["END"]}),
        ("--keep-alive 0", "keep_alive", 0),
        ("--no-think", "think", False),
        ("-f json", "format", "json"),
        ("--no-stream", "stream", False),
        ("-s 'Be brief.'", "messages", None),
    ],
)
def test_each_option_reaches_the_request(kernel, fake_ollama, line, field, value):
    ran = ask(kernel, options=line)
    assert ran.status == "ok", ran.error
    body = sent(fake_ollama)
    if field == "messages":
        assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    else:
        assert body[field] == value


def test_only_options_that_were_given_are_sent(kernel, fake_ollama):
    ask(kernel)
    assert set(sent(fake_ollama)) == {"model", "messages", "stream"}


def test_think_levels_reach_a_model_with_thinking(kernel, fake_ollama):
    able = {"name": "deep:1b", "capabilities": ["completion", "thinking"]}
    fake_ollama.models([able])
    fake_ollama.reply("Yes", thinking="Hm.")
    ran = ask(kernel, options="--think=high")
    assert sent(fake_ollama)["think"] == "high"
    assert "<details" in ran.html
    assert "Hm." in ran.html
    hidden = ask(kernel, options="--think --hide-thinking")
    assert "Hm." not in hidden.html


def shows_levels(fake_ollama, *values):
    """Let the server list the values of ``think``, as Ollama does since 0.34.3."""
    fake_ollama.models(
        [{"name": "llama3.2:3b", "capabilities": ["completion", "thinking"]}]
    )
    thinking = {"thinking": {"values": list(values)}} if values else {}
    fake_ollama.on("POST /api/show", json_answer({"details": {}, **thinking}))


@pytest.mark.parametrize(
    ("values", "option", "sent_as"),
    [
        (("none", "low", "xhigh"), "--think=xhigh", "xhigh"),
        ((False, True), "--think=true", True),
        ((False, True), "--think=False", False),
        ((), "--think=max", "max"),
    ],
)
def test_every_level_that_the_server_lists_is_sent(
    kernel, fake_ollama, values, option, sent_as
):
    shows_levels(fake_ollama, *values)
    assert ask(kernel, options=option).status == "ok"
    assert sent(fake_ollama)["think"] == sent_as


@pytest.mark.parametrize(
    ("values", "level", "said"),
    [
        (("low", "xhigh"), "high", ["its levels: low, xhigh", "--think=xhigh"]),
        (
            (False, True),
            "high",
            ["its thinking is on or off", "--think, or --no-think"],
        ),
        ((), "hihg", ["its levels: low, medium, high, max", "--think=high"]),
    ],
)
def test_a_level_that_the_model_lacks_is_an_error_and_nothing_is_sent(
    kernel, fake_ollama, values, level, said
):
    shows_levels(fake_ollama, *values)
    kernel.run("from ollama_magic import map_prompts")
    for code in (
        f"%%ollama --think={level}\nHi",
        f"%config OllamaMagics.think = {level!r}\n%ollama ask Hi",
        f"map_prompts('{{}}', ['a'], think={level!r})",
    ):
        ran = kernel.run(code)
        assert f"has no thinking level {level!r}" in ran.error
        assert all(part in ran.error for part in said)
    assert fake_ollama.bodies("/api/chat") == []


def test_a_level_is_sent_unchecked_if_the_server_cannot_be_asked(kernel, fake_ollama):
    shows_levels(fake_ollama)
    fake_ollama.on("POST /api/show", error(403, "no"))
    assert ask(kernel, options="--think=xhigh").status == "ok"
    assert sent(fake_ollama)["think"] == "xhigh"


def test_the_levels_of_a_model_are_shown(kernel, fake_ollama):
    shows_levels(fake_ollama, False, "low", "high", {"untrusted": 1})
    text = kernel.run("%ollama show llama3.2:3b").text
    assert "Thinking  false, low, high" in text


def test_thinking_is_an_error_for_a_model_without_it_and_nothing_is_sent(
    kernel, fake_ollama
):
    fake_ollama.models([{"name": "plain:1b", "capabilities": ["completion"]}])
    ran = ask(kernel, options="--think")
    assert ran.status == "error"
    assert ran.error.startswith(
        "CapabilityError: Model 'plain:1b' does not support thinking"
    )
    assert fake_ollama.bodies("/api/chat") == []


def test_a_cell_continues_the_chat(kernel, fake_ollama):
    fake_ollama.reply("One.")
    ask(kernel, "First?", cell_id="a")
    ask(kernel, "Second?", cell_id="b")
    assert messages(fake_ollama) == [
        ("user", "First?"),
        ("assistant", "One."),
        ("user", "Second?"),
    ]


def test_a_re_run_replaces_the_turn_in_place(kernel, fake_ollama):
    for cell in "abc":
        ask(kernel, f"{cell}?", cell_id=cell)
    ran = ask(kernel, "b2?", cell_id="b")
    assert [m for m in messages(fake_ollama) if m[0] == "user"] == [
        ("user", "a?"),
        ("user", "b2?"),
    ]
    assert ran.place == "turn 2 of main"
    ask(kernel, "d?", cell_id="d")
    asked = [text for role, text in messages(fake_ollama) if role == "user"]
    assert asked == ["a?", "b2?", "c?", "d?"]


def test_append_adds_a_turn_instead(kernel, fake_ollama):
    ask(kernel, "a?", cell_id="a")
    ask(kernel, "a2?", "--append", cell_id="a")
    asked = [text for role, text in messages(fake_ollama) if role == "user"]
    assert asked == ["a?", "a2?"]


def test_turns_of_deleted_cells_are_removed(kernel, fake_ollama):
    ask(kernel, "a?", cell_id="a")
    ask(kernel, "b?", cell_id="b")
    ask(kernel, "c?", cell_id="c", deleted=["a"])
    asked = [text for role, text in messages(fake_ollama) if role == "user"]
    assert asked == ["b?", "c?"]


def test_new_and_last_and_once_select_what_is_sent(kernel, fake_ollama):
    for cell in "abc":
        ask(kernel, f"{cell}?", cell_id=cell)
    ask(kernel, "d?", "--last 1", cell_id="d")
    asked = [text for role, text in messages(fake_ollama) if role == "user"]
    assert asked == ["c?", "d?"]
    ask(kernel, "e?", "--new", cell_id="e")
    assert messages(fake_ollama) == [("user", "e?")]
    ask(kernel, "once?", "--once -s Terse.")
    assert sent(fake_ollama, "/api/generate")["prompt"] == "once?"
    assert sent(fake_ollama, "/api/generate")["system"] == "Terse."
    ask(kernel, "f?", cell_id="f")
    asked = [text for role, text in messages(fake_ollama) if role == "user"]
    assert asked == ["e?", "f?"]


def test_named_chats_are_separate(kernel, fake_ollama):
    ask(kernel, "a?", cell_id="a")
    ran = ask(kernel, "b?", "-c other", cell_id="b")
    assert messages(fake_ollama) == [("user", "b?")]
    assert ran.place == "turn 1 of other"


def test_a_system_message_applies_from_its_turn_on(kernel, fake_ollama):
    ask(kernel, "a?", "-s Terse.", cell_id="a")
    ask(kernel, "b?", cell_id="b")
    assert messages(fake_ollama)[0] == ("system", "Terse.")


def test_the_reply_is_assigned_to_a_variable(kernel, fake_ollama):
    fake_ollama.reply("Run:\n```python\nprint(1)\n```\n")
    ask(kernel, options="r <<")
    ran = kernel.run(
        "print(str(r) == r.text, r.code[0].language, r.model, r.status,"
        " r.stats.eval_count, r.request['model'], r.messages[-1]['role'])"
    )
    assert ran.streams == "True python llama3.2:3b complete 8 llama3.2:3b assistant\n"
    shown = kernel.run("r")
    assert shown.place == "turn 1 of main"


def test_json_replies_have_data(kernel, fake_ollama):
    fake_ollama.reply('{"a": [1, 2]}')
    ask(kernel, options="r << -f json")
    assert kernel.run("print(r.data['a'])").streams == "[1, 2]\n"


def test_placeholders_are_filled_in_once_and_listed_in_the_footer(kernel, fake_ollama):
    kernel.run("x = {'k': ['{{ y }}', 2]}")
    ran = ask(kernel, 'Look: {{ x["k"][0] }} and {"json": {}} and $x^2$')
    asked = messages(fake_ollama)[-1][1]
    assert asked == 'Look: {{ y }} and {"json": {}} and $x^2$'
    assert "filled in" in ran.html
    ask(kernel, "{{ nope }}", "--raw")
    assert messages(fake_ollama)[-1][1] == "{{ nope }}"


def test_an_undefined_name_is_an_error_and_nothing_is_sent(kernel, fake_ollama):
    ran = ask(kernel, "{{ nope }}")
    assert ran.status == "error"
    assert ran.error.startswith("PromptError: ")
    assert "--raw" in ran.error
    assert fake_ollama.requests == []


@pytest.mark.parametrize(
    "prompt",
    [
        ">>> print(1)\n1",
        "... and so on",
        "In [1]: x = 1",
        "    indented\n  less",
        "100% {sure} of $x and {x!r} and \\n",
        "ends with a question?",
        "!ls\n%time\n?help",
        "dépôt 日本語 🚀",
    ],
)
def test_the_prompt_is_sent_as_it_was_typed(kernel, fake_ollama, prompt):
    ask(kernel, prompt)
    assert messages(fake_ollama)[-1][1] == prompt


def test_magics_work_from_functions_and_run_cell_magic(kernel, fake_ollama):
    ran = kernel.run(
        "def f(text):\n"
        "    print('before')\n"
        "    return get_ipython().run_cell_magic('ollama', '-q', text)\n"
        "r = f('>>> from a function')\nprint(r.text)"
    )
    assert ran.status == "ok", ran.error
    assert messages(fake_ollama)[-1][1] == ">>> from a function"
    assert ran.streams == "before\nHello!\n"


def test_dry_run_shows_the_request_and_sends_nothing(kernel, fake_ollama):
    prompt = "What?\n\nassistant:\n  {'a': 1}"
    ran = ask(kernel, prompt, "--dry-run -t 0 -s 'Be brief.'")
    assert '"temperature": 0' in ran.text
    assert (
        "\n\nsystem:\n  Be brief.\n\nuser:\n  What?\n\n  assistant:\n    {'a': 1}\n\n"
    ) in ran.text
    assert "tokens (estimate); nothing was sent" in ran.text
    ran = ask(kernel, prompt, "--dry-run=json")
    body = ran.text[ran.text.index("{") : ran.text.rindex("}") + 1]
    assert json.loads(body)["messages"] == [{"role": "user", "content": prompt}]
    assert fake_ollama.bodies("/api/chat") == []


def test_the_output_grows_while_the_reply_streams(kernel, fake_ollama):
    more = threading.Event()
    steps = [
        line(content="First"),
        Wait(more),
        line(content=" second"),
        line(done=True),
    ]
    fake_ollama.on("POST /api/chat", Answer(steps))
    msg_id = kernel.send("%%ollama\nHi")
    seen = kernel.collect(msg_id, until=lambda ran: "First" in ran.html)
    assert "second" not in seen.html
    more.set()
    assert kernel.collect(msg_id).text == "First second"


def test_an_interrupt_ends_the_reply_and_keeps_the_partial_text(kernel, fake_ollama):
    """The connection is closed, the chat keeps the partial reply, Run All stops."""
    never = threading.Event()
    fake_ollama.on("POST /api/chat", Answer([line(content="Some text"), Wait(never)]))
    msg_id = kernel.send("%%ollama\nHi", "a")
    kernel.collect(msg_id, until=lambda ran: "Some text" in ran.html)
    kernel.manager.interrupt_kernel()
    request = fake_ollama.wait_for("/api/chat")
    assert request.wait_closed()
    assert request.was_cut_off
    ran = kernel.collect(msg_id)
    assert ran.status == "error"
    assert ran.error is None
    assert "Some text" in ran.html
    assert "[interrupted]" in ran.text
    assert ran.provenance["status"] == "interrupted"
    history = kernel.run("%ollama history")
    assert "interrupted" in history.text


def test_an_interrupt_before_the_first_token_leaves_no_trace(kernel, fake_ollama):
    never = threading.Event()
    fake_ollama.on("POST /api/chat", Answer([], hold_headers=never))
    msg_id = kernel.send("%%ollama\nHi")
    kernel.collect(msg_id, until=lambda ran: "llama3.2:3b" in ran.html)
    fake_ollama.wait_for("/api/chat")
    kernel.manager.interrupt_kernel()
    assert fake_ollama.wait_for("/api/chat").wait_closed()
    ran = kernel.collect(msg_id)
    assert ran.status == "error"
    assert ran.html == ""
    assert "No turns in chat" in kernel.run("%ollama history").text


def test_an_error_in_the_middle_keeps_the_partial_reply(kernel, fake_ollama):
    broken = {"error": "an error was encountered while running the model: EOF"}
    fake_ollama.on("POST /api/chat", Answer([line(content="Half"), broken]))
    ran = ask(kernel)
    assert ran.status == "error"
    assert ran.text.startswith("Half")
    assert "an error was encountered while running the model: EOF" in ran.error
    assert "Traceback" not in ran.error
    assert ran.provenance["status"] == "broken"


def test_a_failed_turn_leaves_no_trace(kernel, fake_ollama):
    fake_ollama.on("POST /api/chat", error(500, "boom"))
    ran = ask(kernel)
    assert ran.status == "error"
    assert ran.html == ""
    assert "No turns in chat" in kernel.run("%ollama history").text


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("%%ollama", "prompt is empty"),
        ("%%ollama llama3.2:3b\n\n\n", "prompt is empty"),
        ("%%ollama --tempratur 1\nHi", "--temperature"),
        ("%%ollama -o temprature 1\nHi", "temperature"),
        ("%%ollama Why is it so?", "%ollama ask Why is it so?"),
        ("%%ollama nosuch:1b\nHi", "%ollama pull nosuch:1b"),
        ("%ollama lst", "%ollama list"),
    ],
)
def test_invalid_input_is_an_error_with_a_next_step(kernel, code, words):
    ran = kernel.run(code)
    assert ran.status == "error"
    assert words in (ran.error or "") + ran.streams
    assert "Traceback" not in (ran.error or "") + ran.streams


def test_without_a_server_the_error_suggests_serve(kernel):
    kernel.run("%config OllamaMagics.host = '127.0.0.1:9'")
    ran = ask(kernel)
    assert ran.error.startswith("ServerUnreachableError: No Ollama server answered at")
    assert "%ollama serve" in ran.error


def test_another_server_for_one_cell(kernel, fake_ollama):
    kernel.run("%config OllamaMagics.host = '127.0.0.1:9'")
    assert ask(kernel, options=f"--host {fake_ollama.url}").status == "ok"


def test_hostile_text_is_shown_as_text(kernel, fake_ollama):
    fake_ollama.reply("<img src=x onerror=alert(1)><script>alert(2)</script>")
    ran = ask(kernel)
    assert "<img" not in ran.html
    assert "<script" not in ran.html
    assert "&lt;script&gt;" in ran.html


def test_an_unreadable_store_does_not_stop_a_cell(kernel, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    where = str(tmp_path / "file" / "chats.sqlite")
    kernel.run(f"%config OllamaMagics.history_file = {where!r}")
    ran = ask(kernel, cell_id="a")
    assert ran.status == "ok", ran.error
    assert "memory" in ran.text
    again = ask(kernel, cell_id="b")
    assert again.place == "turn 2 of main"
    assert "memory" not in again.text


def test_a_corrupt_store_is_renamed(kernel, tmp_path):
    where = tmp_path / "broken.sqlite"
    where.write_bytes(b"this is no database" * 100)
    kernel.run(f"%config OllamaMagics.history_file = {str(where)!r}")
    ran = ask(kernel)
    assert ran.status == "ok"
    (aside,) = tmp_path.glob("broken.sqlite.corrupt-*")
    assert aside.read_bytes().startswith(b"this is no database")


@pytest.mark.parametrize(
    "code",
    [
        "%%time\n%%ollama\nhi",
        "%ollama ask hi\n# a comment",
        "  %ollama ask hi",
        "get_ipython().run_cell_magic('ollama', '', 'hi')",
        "def g():\n    return get_ipython().run_line_magic('ollama', 'ask hi')\ng()",
        "r = %ollama ask hi\nr",
    ],
)
def test_a_reply_is_not_shown_twice(kernel, code):
    ran = kernel.run(code)
    assert ran.status == "ok", ran.error
    assert [o for o in ran.outputs if "data" in o and "Hello!" in str(o)] == [
        next(o for o in ran.outputs if "data" in o)
    ]


def test_a_reply_is_the_value_of_its_cell_and_can_be_displayed(kernel):
    kernel.run("%ollama ask hi")
    # NB: not `_`, which IPython no longer sets after a test has assigned it.
    assert kernel.run("print(Out[max(Out)].text)").streams == "Hello!\n"
    kernel.run("%%ollama kept <<\nhi")
    assert "Hello!" in kernel.run("kept").text


def test_hidden_thinking_shows_that_the_model_is_thinking(kernel, fake_ollama):
    able = {"name": "deep:1b", "capabilities": ["completion", "thinking"]}
    fake_ollama.models([able])
    more = threading.Event()
    steps = [line(thinking="Hm."), Wait(more), line(content="Yes"), line(done=True)]
    fake_ollama.on("POST /api/chat", Answer(steps))
    msg_id = kernel.send("%%ollama --think --hide-thinking\nhi")
    kernel.collect(msg_id, until=lambda ran: "deep:1b is thinking…" in ran.html)
    more.set()
    assert "Hm." not in kernel.collect(msg_id).html


def test_an_interrupted_pull_is_shown_as_one_line(kernel, fake_ollama):
    never = threading.Event()
    first = {"status": "pulling manifest"}
    fake_ollama.on("POST /api/pull", Answer([first, Wait(never)]))
    msg_id = kernel.send("%ollama pull new:1b")
    kernel.collect(msg_id, until=lambda ran: "asking the registry" in ran.text)
    kernel.manager.interrupt_kernel()
    assert kernel.collect(msg_id).error == "Interrupted: stopped"


def test_an_invalid_setting_does_not_survive_a_reload(kernel):
    kernel.run("%config OllamaMagics.format = 'pdf'")
    ran = kernel.run("%reload_ext ollama_magic\n%ollama help")
    assert ran.status == "ok", ran.error
    assert "OllamaMagics.format cannot be 'pdf'" in ran.streams


def test_any_command_reports_a_damaged_store(kernel, tmp_path):
    where = tmp_path / "damaged.sqlite"
    where.write_bytes(b"this is no database" * 100)
    kernel.run(f"%config OllamaMagics.history_file = {str(where)!r}")
    ran = kernel.run("%ollama history")
    assert "corrupt" in ran.text
    assert "corrupt" not in kernel.run("%ollama history").text


@pytest.mark.parametrize("path", ["GET /api/tags", "GET /api/ps"])
def test_an_interrupt_before_the_first_request_is_one_line(kernel, fake_ollama, path):
    """The first frame is already shown, and the stop button works at once."""
    fake_ollama.on(path, Answer([], hold_headers=threading.Event()))
    msg_id = kernel.send("%%ollama\nHi")
    kernel.collect(msg_id, until=lambda ran: fake_ollama.url in ran.html)
    fake_ollama.wait_for(path.split()[1])
    kernel.manager.interrupt_kernel()
    ran = kernel.collect(msg_id)
    assert ran.error == "Interrupted: stopped"
    assert fake_ollama.bodies("/api/chat") == []


def test_a_server_without_a_list_of_models_can_reply(kernel, fake_ollama):
    fake_ollama.on("GET /api/tags", error(500, "no list today"))
    fake_ollama.on("GET /api/ps", error(404, "nothing here"))
    assert ask(kernel, options="llama3.2:3b").status == "ok"


def test_a_dry_run_with_a_model_needs_no_server(kernel):
    kernel.run("%config OllamaMagics.host = '127.0.0.1:9'")
    ran = ask(kernel, options="llama3.2:3b --dry-run")
    assert ran.status == "ok", ran.error
    assert "\nmodel: llama3.2:3b\n" in ran.text


@pytest.mark.parametrize(
    ("reply", "notice"),
    [
        ({"text": ""}, "[no reply]"),
        ({"thinking": "Hm."}, "[no reply, only thinking]"),
    ],
)
def test_an_empty_reply_says_so_and_is_not_sent_back(
    kernel, fake_ollama, reply, notice
):
    able = {"name": "deep:1b", "capabilities": ["completion", "thinking"]}
    fake_ollama.models([able])
    fake_ollama.reply(**{"text": "", **reply})
    assert notice in ask(kernel, "a?", cell_id="a").text
    fake_ollama.reply("Yes")
    ask(kernel, "b?", cell_id="b")
    assert messages(fake_ollama) == [("user", "a?"), ("user", "b?")]


def test_a_one_off_reply_has_the_messages_that_were_sent(kernel):
    ask(kernel, "hi", "r << --once -s Terse.")
    ran = kernel.run("print([m['content'] for m in r.messages])")
    assert ran.streams == "['Terse.', 'hi', 'Hello!']\n"


def test_a_cell_can_ask_in_a_thread(kernel):
    ran = kernel.run(
        "import threading\nreplies = []\n"
        "def f():\n"
        "    replies.append(get_ipython().run_cell_magic('ollama', '', 'hi'))\n"
        "thread = threading.Thread(target=f)\nthread.start()\nthread.join()\n"
        "print(replies[0].text)"
    )
    assert "Hello!" in ran.streams


def test_a_dry_run_has_no_reply_to_assign(kernel):
    ran = ask(kernel, options="r << --dry-run")
    assert ran.status == "error"
    assert "no reply to assign to r" in ran.streams
