"""Functions that a model calls, in a real kernel."""

import html
import json
import re
import threading

import nbformat
import pytest
from fake_ollama import Answer, Wait, answer_of, json_answer, reply_line

MODEL = "llama3.2:3b"
BODY = {"model": MODEL, "messages": []}
ABLE = {"name": MODEL, "capabilities": ["completion", "tools", "thinking"]}
DEFINE = '''\
def get_weather(city: str) -> dict:
    """Get the weather of a city."""
    seen.append(city)
    return {"sky": "sunny", "c": 20}

def fails(why: str):
    raise ValueError(why)

seen = []'''


@pytest.fixture
def able(kernel, fake_ollama):
    """Provide a kernel with two functions, and a model that can call tools."""
    fake_ollama.models([ABLE])
    assert kernel.run(DEFINE).status == "ok"
    return kernel


def call(name, id="", **arguments):
    named = {"id": id} if id else {}
    return {**named, "function": {"index": 0, "name": name, "arguments": arguments}}


def calls(*wanted, **more):
    """Reply with tool calls as recorded: not in the last line."""
    said = reply_line(BODY, tool_calls=list(wanted), **more)
    return Answer([said, reply_line(BODY, done=True, done_reason="stop")])


def says(text):
    return Answer([reply_line(BODY, content=text), reply_line(BODY, done=True)])


def script(fake_ollama, *answers):
    fake_ollama.on("POST /api/chat", *answers)


def last_messages(fake_ollama):
    return fake_ollama.bodies("/api/chat")[-1]["messages"]


def seen(kernel):
    return kernel.run("print(seen)").streams.strip()


def test_a_function_is_described_called_and_listed(able, fake_ollama):
    script(
        fake_ollama,
        calls(call("get_weather", id="call_1", city="Oslo")),
        says("Sunny."),
    )
    ran = able.run("%%ollama r << -T get_weather --yes\nWeather in Oslo?")
    assert ran.status == "ok", ran.error
    first, second = fake_ollama.bodies("/api/chat")
    (tool,) = first["tools"]
    assert tool["function"]["description"] == "Get the weather of a city."
    assert tool["function"]["parameters"]["required"] == ["city"]
    asked, result = second["messages"][1:]
    assert asked["tool_calls"][0]["function"]["arguments"] == {"city": "Oslo"}
    assert result["role"] == "tool"
    assert result["tool_name"] == "get_weather"
    assert result["tool_call_id"] == "call_1"
    assert json.loads(result["content"]) == {"sky": "sunny", "c": 20}
    assert second["tools"] == first["tools"]
    assert ran.text == "Sunny."
    assert "<details" in ran.html
    assert "sunny" in ran.html
    assert "called get_weather" in ran.html
    assert able.run("print(r.text, r.tool_calls[0].name)").streams == (
        "Sunny. get_weather\n"
    )


def test_the_next_cell_sends_the_result_of_the_function(able, fake_ollama):
    script(fake_ollama, calls(call("get_weather", city="Oslo")), says("Sunny."))
    able.run("%%ollama -T get_weather --yes\nWeather in Oslo?", cell_id="a")
    script(fake_ollama, says("Yes."))
    able.run("%%ollama\nSure?", cell_id="b")
    assert [m["role"] for m in last_messages(fake_ollama)] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]


def test_the_user_is_asked_before_each_call_and_sees_its_arguments(able, fake_ollama):
    script(fake_ollama, calls(call("get_weather", city="Oslo")), says("Sunny."))
    able.answers = ["y"]
    ran = able.run("%%ollama -T get_weather\nWeather?")
    assert ran.asked == ['Call get_weather(city="Oslo")? [y]es, [n]o, [a]lways: ']
    assert seen(able) == "['Oslo']"


def test_nothing_is_cleared_while_a_question_may_be_open(able, fake_ollama):
    """A question and a request to clear may arrive in any order.

    JupyterLab would remove the input box, and no answer would be possible.
    """
    script(
        fake_ollama,
        calls(call("get_weather", city="Oslo"), content="Let me see.\n\nNow."),
        calls(call("get_weather", city="Rome")),
        says("Sunny."),
    )
    able.answers = ["y", "y"]
    ran = able.run("%%ollama -T get_weather\nWeather?")
    assert ran.text == "Sunny."
    assert len(ran.asked) == 2
    assert ran.messages.count("clear_output") == 1  # for the final reply


def test_answering_no_declines_a_call_and_the_model_gets_that_result(able, fake_ollama):
    script(fake_ollama, calls(call("get_weather", city="Oslo")), says("As you like."))
    able.answers = ["n"]
    ran = able.run("%%ollama -T get_weather\nWeather?")
    assert ran.text == f"As you like.\n\n[declined {OSLO}]"
    assert last_messages(fake_ollama)[-1]["content"] == "The user declined this call."
    assert seen(able) == "[]"


def test_always_applies_to_that_function_in_this_cell_only(able, fake_ollama):
    two = calls(call("get_weather", city="Oslo"), call("get_weather", city="Rome"))
    script(fake_ollama, two, calls(call("fails", why="x")), says("Done."))
    able.answers = ["a", "y"]
    ran = able.run("%%ollama -T get_weather -T fails\nWeather?")
    assert [question.split("?")[0] for question in ran.asked] == [
        'Call get_weather(city="Oslo")',
        'Call fails(why="x")',
    ]
    script(fake_ollama, calls(call("get_weather", city="Bonn")), says("Done."))
    able.answers = ["n"]
    assert able.run("%%ollama -T get_weather\nAnd Bonn?").asked


def test_without_a_user_calls_are_declined(able, fake_ollama):
    script(fake_ollama, calls(call("get_weather", city="Oslo")), says("I can't."))
    ran = able.run("%%ollama -T get_weather\nWeather?")
    assert ran.status == "ok"
    assert "declined" in last_messages(fake_ollama)[-1]["content"]
    assert "--yes allows" in ran.html
    assert seen(able) == "[]"


def test_only_the_functions_that_were_named_can_be_called(able, fake_ollama):
    bad = [call(name) for name in ("fails", "print", "seen.clear", "__import__", "")]
    script(fake_ollama, calls(*bad), says("Hm."))
    ran = able.run("%%ollama -T get_weather --yes\nGo.")
    assert ran.status == "ok", ran.error
    told = [m["content"] for m in last_messages(fake_ollama) if m["role"] == "tool"]
    assert len(told) == len(bad)
    assert all("There is no tool" in text for text in told)
    assert all("get_weather" in text for text in told)


def test_the_rounds_have_a_limit_after_which_the_model_replies(able, fake_ollama):
    able.run("%config OllamaMagics.tool_rounds = 2")
    again = calls(call("get_weather", city="Oslo"))
    script(fake_ollama, again, again, says("Enough."))
    ran = able.run("%%ollama -T get_weather --yes\nGo.")
    assert ran.text == "Enough."
    assert "tools" not in fake_ollama.bodies("/api/chat")[-1]
    assert "%config OllamaMagics.tool_rounds" in ran.html


def test_thinking_is_sent_back_inside_the_loop_and_not_after_it(able, fake_ollama):
    script(
        fake_ollama,
        Answer(
            [
                reply_line(BODY, thinking="I need the weather."),
                reply_line(BODY, tool_calls=[call("get_weather", city="Oslo")]),
                reply_line(BODY, done=True),
            ]
        ),
        says("Sunny."),
    )
    ran = able.run("%%ollama -T get_weather --yes\nWeather?", cell_id="a")
    assert last_messages(fake_ollama)[1]["thinking"] == "I need the weather."
    assert "I need the weather." in ran.html
    able.run("%%ollama\nSure?", cell_id="b")
    assert not any("thinking" in m for m in last_messages(fake_ollama))


def test_hidden_thinking_is_hidden_in_the_rounds_too(able, fake_ollama):
    script(
        fake_ollama,
        Answer(
            [
                reply_line(BODY, thinking="A secret."),
                reply_line(BODY, tool_calls=[call("get_weather", city="Oslo")]),
                reply_line(BODY, done=True),
            ]
        ),
        says("Sunny."),
    )
    ran = able.run("%%ollama -T get_weather --yes --hide-thinking\nWeather?")
    assert "A secret." not in json.dumps(ran.outputs)


def test_a_one_off_can_call_functions_and_adds_no_turn(able, fake_ollama):
    script(fake_ollama, calls(call("get_weather", city="Oslo")), says("Sunny."))
    ran = able.run("%%ollama -1 -T get_weather --yes -s 'Be brief.'\nWeather?")
    assert ran.status == "ok", ran.error
    assert fake_ollama.bodies("/api/generate") == []
    assert last_messages(fake_ollama)[0] == {"role": "system", "content": "Be brief."}
    assert "Weather?" not in able.run("%ollama history").text


def test_tools_work_without_streaming(able, fake_ollama):
    replies = iter([[call("get_weather", city="Oslo")], None])

    def answer(body):
        wanted = next(replies)
        if wanted:
            return [reply_line(body, tool_calls=wanted), reply_line(body, done=True)]
        return [reply_line(body, content="Sunny."), reply_line(body, done=True)]

    fake_ollama.chat(answer)
    ran = able.run("%%ollama -T get_weather --yes --no-stream\nWeather?")
    assert ran.text == "Sunny."
    assert [b["stream"] for b in fake_ollama.bodies("/api/chat")] == [False, False]


WAITS = {
    "def": "    threading.Event().wait(60)",
    "async def": (
        "    try:\n        await asyncio.sleep(60)\n"
        "    except asyncio.CancelledError:\n        ended.set()\n        raise"
    ),
}


@pytest.mark.parametrize(("kind", "waiting"), WAITS.items(), ids=WAITS)
def test_an_interrupt_in_a_function_keeps_a_valid_turn(
    able, fake_ollama, tmp_path, kind, waiting
):
    able.run(
        "import asyncio, threading\n"
        "ended = threading.Event()\n"
        f"{kind} waits():\n"
        "    'Wait for long.'\n"
        f"    open({str(tmp_path / 'called')!r}, 'w').close()\n"
        f"{waiting}"
    )
    script(fake_ollama, calls(call("waits"), call("waits")), says("never"))
    msg_id = able.send("%%ollama -T waits --yes\nGo.", cell_id="a")
    watch = threading.Event()
    while not (tmp_path / "called").exists():
        watch.wait(0.01)
    able.manager.interrupt_kernel()
    ran = able.collect(msg_id)
    assert ran.status == "error"
    assert "interrupted" in ran.text
    assert titles(ran) == ["stopped in waits {}", "stopped before waits {}"]
    is_async = kind == "async def"
    assert able.run(f"print(ended.wait(20 * {is_async}))").streams == f"{is_async}\n"
    script(fake_ollama, says("Fine."))
    able.run("%%ollama\nAnd?", cell_id="b")
    roles = [m["role"] for m in last_messages(fake_ollama)]
    assert roles == ["user", "assistant", "tool", "tool", "user"]


def test_an_async_function_is_awaited_and_prints_into_its_cell(able, fake_ollama):
    able.run(
        "import asyncio\n"
        "async def look(city: str):\n"
        "    await asyncio.sleep(0)\n"
        "    print('looking')\n"
        "    return f'rain in {city}'"
    )
    script(fake_ollama, calls(call("look", city="Oslo")), says("Rain."))
    ran = able.run("%%ollama -T look --yes\nWeather?")
    assert titles(ran) == ['called look {"city": "Oslo"}']
    assert "stream" in ran.messages
    assert last_messages(fake_ollama)[-1]["content"] == "rain in Oslo"


def test_a_later_round_that_is_cut_keeps_the_earlier_calls(able, fake_ollama):
    script(
        fake_ollama,
        calls(call("get_weather", city="Oslo")),
        Answer([{"error": "the runner died"}]),
    )
    ran = able.run("%%ollama -T get_weather --yes\nGo.")
    assert ran.status == "error"
    assert "the runner died" in ran.error
    assert "called get_weather" in ran.html


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-T nosuch", "nosuch"),
        ("-T seen", "seen"),
        ("--yes", "-T NAME"),
        ("-T get_weather --schema 'a'", "cannot be used together"),
        ("-T get_weather -f json", "cannot be combined"),
        ("-T get_weather -T get_weather", "get_weather"),
    ],
)
def test_an_invalid_tool_option_is_an_error_and_nothing_is_sent(
    able, fake_ollama, line, said
):
    ran = able.run(f"%%ollama {line}\nGo.")
    assert ran.status == "error"
    assert said in (ran.error or ran.streams)
    assert fake_ollama.bodies("/api/chat") == []


def test_a_model_that_cannot_call_tools_is_an_error_and_nothing_is_sent(
    able, fake_ollama
):
    other = {"name": "able:1b", "capabilities": ["completion", "tools"]}
    fake_ollama.models([{"name": MODEL, "capabilities": ["completion"]}, other])
    ran = able.run(f"%%ollama {MODEL} -T get_weather\nGo.")
    assert "CapabilityError" in ran.error
    assert "able:1b" in ran.error
    assert fake_ollama.bodies("/api/chat") == []


def test_a_dry_run_shows_the_tools_that_would_be_sent(able, fake_ollama):
    ran = able.run("%%ollama --dry-run -T get_weather\nGo.")
    assert "\ntools: [" in ran.text
    assert "Get the weather of a city." in ran.text


def test_the_recorded_calls_of_a_real_server_work(able, fake_ollama, recording):
    """Replays the recording, with a function of the name that it calls."""
    able.run(
        "def get_weather(city: str) -> str:\n"
        "    '''Get the weather of a city'''\n"
        "    return 'rain, 12 C'"
    )
    fake_ollama.models([{"name": "smol-tools:latest", "capabilities": ["tools"]}])
    recorded = [recording("chat_tools_stream"), recording("chat_tools_result")]
    script(fake_ollama, *(answer_of(one["response"]) for one in recorded))
    ran = able.run("%%ollama smol-tools -T get_weather --yes\nWeather in Paris?")
    assert ran.status == "ok", ran.error
    _, second = fake_ollama.bodies("/api/chat")
    sent, told = second["messages"][-2:], recorded[1]["request"]["body"]["messages"]
    assert sent[0]["tool_calls"][0]["function"]["arguments"] == {"city": "Paris"}
    assert set(sent[1]) == set(told[-1])
    assert sent[1]["content"] == told[-1]["content"]
    assert "raining" in ran.text.lower()


def test_a_call_is_shown_completely_before_its_question(able, fake_ollama):
    rest = threading.Event()
    long = "x" * 3000
    script(
        fake_ollama,
        calls(call("get_weather", city=long)),
        Answer([Wait(rest), reply_line(BODY, done=True)]),
    )
    able.answers = ["n"]
    shown = []

    def until(ran):
        if "wants to call get_weather" in ran.html:
            shown.append(ran.html)
            rest.set()
        return False

    able.collect(able.send("%%ollama -T get_weather\nGo.", "a"), until)
    assert long in shown[0]


def test_no_later_call_replaces_the_call_in_question(able, fake_ollama):
    rest = threading.Event()
    both = [call("get_weather", city=text * 60_000) for text in "xy"]
    script(fake_ollama, calls(*both), Answer([Wait(rest), reply_line(BODY, done=True)]))
    able.answers = ["y", "n"]
    shown = []

    def until(ran):
        shown.append(ran.html)
        if "x" * 60_000 in ran.html:
            rest.set()
        return False

    able.collect(able.send("%%ollama -T get_weather\nGo.", "a"), until)
    first = next(html for html in shown if "wants to call" in html)
    assert "x" * 60_000 in first
    assert "y" * 60_000 not in first


NOT_SHOWN = {
    "no cell id": ("%%ollama -T get_weather\nGo.", None),
    "not alone in its cell": ("if True:\n    %ollama ask -T get_weather Go.", None),
    "captured": ("%%capture found\n%ollama ask -T get_weather Go.", "a"),
    "an output widget": (
        "import ipywidgets\nwith ipywidgets.Output():\n"
        "    %ollama ask -T get_weather Go.",
        "a",
    ),
    "Python": (
        "from ollama_magic import ask\nr = ask('Go.', tools=[get_weather])",
        "a",
    ),
}


@pytest.mark.parametrize(("code", "cell_id"), NOT_SHOWN.values(), ids=NOT_SHOWN)
def test_the_question_contains_the_whole_call_if_the_output_does_not(
    able, fake_ollama, code, cell_id
):
    command = "ls " + "-l " * 100 + "; rm -rf ~  \u202e\n'\""
    script(fake_ollama, calls(call("get_weather", city=command)), says("Hm."))
    able.answers = ["n"]
    ran = able.run(code, cell_id)
    assert ran.status == "ok", ran.error
    (question,) = ran.asked
    lines = question.splitlines()
    assert max(map(len, lines)) < 140
    whole = "ls " + "-l " * 100 + "; rm -rf ~  \\u202e\\n'\\\""
    # Only the first line may begin like a question.
    assert all(line.startswith("… ") for line in lines[1:])
    assert "".join(line.removeprefix("… ") for line in lines) == (
        f'Call get_weather(city="{whole}")? [y]es, [n]o, [a]lways: '
    )


def test_a_call_too_long_for_a_question_is_marked_as_cut(able, fake_ollama):
    script(fake_ollama, calls(call("get_weather", city="x" * 5000)), says("Hm."))
    able.answers = ["n"]
    (question,) = able.run("%%ollama -T get_weather\nGo.").asked
    assert question.count("x") == 2000 - len('get_weather(city="')
    assert "\n… [3,020 more characters, not shown]? [y]es" in question


def test_the_estimate_includes_the_descriptions_of_functions(able):
    def size(line):
        text = able.run(f"%%ollama --dry-run {line}\nGo.").text
        return int(re.search(r"about ([\d,]+)", text)[1].replace(",", ""))

    assert size("-T get_weather") > size("") + 20


# -- the title of a call ---------------------------------------------------------


def titles(ran):
    """Return the titles of the calls, without that of a fold around several."""
    found = re.findall(
        "<summary>([^<]*)</summary>(?!(?:<div[^>]*>)+<details)", ran.html
    )
    return [html.unescape(title) for title in found]


OSLO = 'get_weather {"city": "Oslo"}'
WAYS = {
    "declined": ("", ["n"], f"declined {OSLO}"),
    "refused": ("", None, f"declined {OSLO}: no one to confirm it"),
    "called": ("", ["y"], f"called {OSLO}"),
    "called without a question": ("--yes", None, f"called {OSLO}"),
}


@pytest.mark.parametrize(("options", "answers", "title"), WAYS.values(), ids=WAYS)
def test_the_title_of_a_call_says_what_happened_to_it(
    able, fake_ollama, options, answers, title
):
    script(fake_ollama, calls(call("get_weather", city="Oslo")), says("Hm."))
    able.answers = answers
    ran = able.run(f"%%ollama -T get_weather {options}\nWeather?")
    assert titles(ran) == [title]
    assert ran.text == ("Hm." if seen(able) != "[]" else f"Hm.\n\n[{title}]")
    assert (seen(able) == "['Oslo']") == title.startswith("called")
    assert ("called get_weather" in ran.html.split("</details>")[-1]) == (
        title.startswith("called")
    )


BAD_CALLS = {
    "raises": (
        call("fails", why="no such place"),
        'fails {"why": "no such place"} failed: ValueError: no such place',
    ),
    "a wrong type": (
        call("get_weather", city=3),
        'get_weather {"city": 3} was not called: argument city: 3 is not of type '
        "'string'",
    ),
    "an unknown function": (
        call("rm"),
        "rm {} was not called: There is no tool rm; only: get_weather, fails",
    ),
    "an unknown argument": (
        call("get_weather", city="Oslo", day=1),
        'get_weather {"city": "Oslo", "day": 1} was not called: there is no argument '
        "day; get_weather takes city (required)",
    ),
}


@pytest.mark.parametrize(("wanted", "title"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_the_title_of_a_failed_call_says_so(able, fake_ollama, wanted, title):
    script(fake_ollama, calls(wanted), says("Hm."))
    able.answers = ["y"]
    ran = able.run("%%ollama -T get_weather -T fails\nGo.")
    assert titles(ran) == [title]
    assert len(ran.asked) == (wanted["function"]["name"] == "fails")


def test_a_result_that_reads_like_a_refusal_still_counts_as_a_call(able, fake_ollama):
    able.run("def say(): return 'The user declined this call.'")
    script(fake_ollama, calls(call("say")), says("Hm."))
    ran = able.run("%%ollama -T say --yes\nGo.")
    assert titles(ran) == ["called say {}"]


def test_a_call_interrupted_at_its_question_is_not_made(able, fake_ollama):
    """JupyterLab interrupts while a question is open, and sends no answer."""
    two = calls(call("get_weather", city="Oslo"), call("get_weather", city="Rome"))
    script(fake_ollama, two, says("never"))
    able.answers = []
    msg_id = able.send("%%ollama -T get_weather\nWeather?")
    able.client.get_stdin_msg(timeout=60)
    able.manager.interrupt_kernel()
    able.answers = None
    ran = able.collect(msg_id)
    assert ran.status == "error"
    assert titles(ran) == [
        'stopped before get_weather {"city": "Oslo"}',
        'stopped before get_weather {"city": "Rome"}',
    ]
    assert seen(able) == "[]"


def test_the_title_tells_an_interrupted_call_from_one_that_was_not_made(
    able, fake_ollama
):
    able.run("def stops():\n    raise KeyboardInterrupt")
    script(fake_ollama, calls(call("stops"), call("get_weather", city="Oslo")))
    ran = able.run("%%ollama -T stops -T get_weather --yes\nGo.")
    assert ran.status == "error"
    assert titles(ran) == ["stopped in stops {}", f"stopped before {OSLO}"]


def test_the_outcome_is_stored_and_exported_and_never_sent(able, fake_ollama, tmp_path):
    script(fake_ollama, calls(call("get_weather", city="Oslo")), says("As you like."))
    able.answers = ["n"]
    ran = able.run("%%ollama r << -T get_weather\nWeather?", cell_id="a")
    (_, told) = json.loads(ran.provenance["steps"])
    assert told["outcome"] == "declined"
    script(fake_ollama, says("Fine."))
    able.run("%%ollama\nAnd?", cell_id="b")
    for body in fake_ollama.bodies("/api/chat"):
        assert "outcome" not in json.dumps(body)
    assert "outcome" not in able.run("print(r.messages)").streams
    for name in ("c.md", "c.json", "c.ipynb"):
        file = tmp_path / name
        assert able.run(f"%ollama export {file}").status == "ok"
        text = file.read_text()
        assert "declined" in text
        assert "called get_weather" not in text
        able.run(f"%ollama import {file} --chat x{name[2:]}")
        able.run(f"%ollama export --force {tmp_path / 'again.json'}")
        turns = json.loads((tmp_path / "again.json").read_text())["turns"]
        assert turns[0]["steps"][1]["outcome"] == "declined"


def test_steps_of_older_outputs_are_read_without_an_outcome(able, tmp_path):
    """Older versions stored lists of messages, without what happened to a call."""
    steps = [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}
            ],
        },
        {"role": "tool", "content": "The user declined this call."},
    ]
    old = {"prompt": "Weather?", "model": MODEL, "reply": "No.", "steps": steps}
    file = {"format": "ollama_magic chat", "version": 1, "chat": "x", "turns": [old]}
    (tmp_path / "old.json").write_text(json.dumps(file))
    assert able.run(f"%ollama import {tmp_path / 'old.json'}").status == "ok"
    assert able.run(f"%ollama export {tmp_path / 'new.ipynb'}").status == "ok"
    text = (tmp_path / "new.ipynb").read_text()
    assert "requested get_weather" in text
    assert "called get_weather" not in text


QUESTIONS = {
    "long": ({"city": "x" * 500}, 'Call get_weather(city="xxxx'),
    "bidi": ({"city": "a\u202eb"}, 'Call get_weather(city="a\\u202eb")? '),
    "hidden": ({"city": "a\ufe0f\u200d"}, 'Call get_weather(city="a\\ufe0f\\u200d")? '),
    "lines": ({"city": "a\n\nCall"}, 'Call get_weather(city="a\\n\\nCall")? '),
    "quotes": ({"city": '")? yes'}, 'Call get_weather(city="\\")? yes")? '),
}


@pytest.mark.parametrize(("given", "asked"), QUESTIONS.values(), ids=QUESTIONS)
def test_the_question_shows_short_arguments_that_hide_nothing(
    able, fake_ollama, given, asked
):
    script(fake_ollama, calls(call("get_weather", **given)), says("Hm."))
    able.answers = ["n"]
    ran = able.run("%%ollama -T get_weather\nWeather?", "a")
    (question,) = ran.asked
    assert question.startswith(asked)
    for escape in re.findall(r"\\u\w{4}", asked):
        assert escape in ran.html
    assert len(question) < 200


def test_many_arguments_are_cut_in_the_question_and_complete_above_it(
    able, fake_ollama
):
    able.run("def many(**given): return given")
    given = {f"name_{n}": n for n in range(100)}
    script(fake_ollama, calls(call("many", **given)), says("Hm."))
    able.answers = ["n"]
    ran = able.run("%%ollama -T many\nGo.", "a")
    assert "name_1=1" in ran.asked[0]
    assert len(ran.asked[0]) < 200
    assert "name_99" in ran.html


# -- limits ------------------------------------------------------------------------


def nested(depth, inner=1):
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.mark.parametrize("name", ["nope", "get_weather", "anything"])
@pytest.mark.parametrize("depth", [60, 480])
def test_deep_arguments_are_rejected_and_the_notebook_can_be_saved(
    able, fake_ollama, name, depth
):
    able.run("def anything(**given): seen.append(given)")
    deep = call(name, city=nested(depth))
    script(fake_ollama, calls(deep), says("Sorry."))
    ran = able.run("%%ollama -T get_weather -T anything --yes\nGo.")
    assert ran.text.startswith("Sorry.\n\n[")
    if name != "nope":
        told = last_messages(fake_ollama)[-1]["content"]
        assert told.startswith("arguments nested too deeply")
    assert seen(able) == "[]"
    output = {
        "output_type": "display_data",
        "data": {},
        "metadata": ran.outputs[-1]["metadata"],
    }
    cell = nbformat.v4.new_code_cell("x", outputs=[nbformat.from_dict(output)])
    nbformat.writes(nbformat.v4.new_notebook(cells=[cell]))


def test_arguments_at_the_depth_limit_are_accepted_and_stored_as_text(
    able, fake_ollama, tmp_path
):
    able.run("def anything(**given): return 'fine'")
    script(fake_ollama, calls(call("anything", a=nested(49))), says("Done."))
    ran = able.run("%%ollama -T anything --yes\nGo.", cell_id="a")
    assert titles(ran)[0].startswith("called anything")
    assert isinstance(ran.provenance["steps"], str)
    file = tmp_path / "c.ipynb"
    assert able.run(f"%ollama export {file}").status == "ok"
    notebook = nbformat.reads(file.read_text(), 4)
    told = notebook.cells[1].outputs[0].metadata.ollama_magic
    assert isinstance(told["steps"], str)
    assert able.run(f"%ollama import {file} --chat again --trust").status == "ok"
    script(fake_ollama, says("Fine."))
    able.run("%%ollama\nAnd?", cell_id="b")
    (sent,) = last_messages(fake_ollama)[1]["tool_calls"]
    assert sent["function"]["arguments"] == {"a": nested(49)}


def test_calls_of_one_answer_are_limited_and_cost_little(able, fake_ollama):
    """800 calls without confirmation once took half a minute."""
    many = [call("nope", n=n, text="x" * 200) for n in range(2000)]
    script(fake_ollama, calls(*many), says("Sorry."))
    ran = able.run("%%ollama -T get_weather\nGo.")
    assert ran.text.startswith("Sorry.\n\n[")
    told = last_messages(fake_ollama)
    assert len([m for m in told if m["role"] == "tool"]) == 51
    assert len(told[1]["tool_calls"]) == 51
    assert told[-1]["content"].startswith("too many calls: the last 1950 ")
    assert "calls skipped: 1,950 (at most 50 per reply)" in ran.html
    assert ran.messages.count("update_display_data") < 20


def test_completed_calls_are_not_sent_again(able, fake_ollama):
    able.run("def big(text: str): return text")
    many = [call("big", text=f"{n} " + "x" * 19_000) for n in range(50)]
    script(fake_ollama, calls(*many), says("Done."))
    sizes = []

    def until(ran):
        sizes.append(len(ran.html))
        return False

    ran = able.collect(able.send("%%ollama -T big --yes\nGo."), until)
    assert len(titles(ran)) == 50
    assert "earlier steps (shown at the end)" not in ran.html
    assert max(sizes[:-2]) < 150_000
    assert len(ran.html) > 1_500_000


# -- arguments as small models and other servers write them --------------------------


TEXTS = {
    "text": '{"city": "Oslo"}',
    "text of text": json.dumps('{"city": "Oslo"}'),
    "text with blanks": ' \n{"city": "Oslo"}\n',
    "escapes": '{"city": "\\u004fslo"}',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_arguments_that_are_json_text_are_read(able, fake_ollama, text):
    wanted = {"function": {"name": "get_weather", "arguments": text}}
    script(fake_ollama, calls(wanted), says("Sunny."))
    ran = able.run("%%ollama -T get_weather --yes\nWeather?")
    assert titles(ran) == [f"called {OSLO}"]
    assert seen(able) == "['Oslo']"
    sent = last_messages(fake_ollama)[1]["tool_calls"][0]["function"]
    assert sent["arguments"] == {"city": "Oslo"}


NO_OBJECT = {
    "not JSON": ("city=Oslo", "the arguments are not JSON: "),
    "cut": ('{"city": "Os', "the arguments are not JSON: "),
    "a list": ('["Oslo"]', "the arguments are an array"),
    "a list without JSON text": (["Oslo"], "the arguments are an array"),
    "a number": (3, "the arguments are a number"),
    "a flag": ("true", "the arguments are a boolean"),
    "three times": (
        json.dumps(json.dumps('{"city": "Oslo"}')),
        "the arguments are a st",
    ),
    "NaN": ('{"city": NaN}', "the arguments are not JSON: JSON has no NaN"),
    "deep text": ("[" * 100_000, "arguments nested too deeply"),
}


@pytest.mark.parametrize(("given", "told"), NO_OBJECT.values(), ids=NO_OBJECT)
def test_arguments_that_are_not_an_object_are_shown_unchanged(
    able, fake_ollama, given, told
):
    wanted = {"function": {"name": "get_weather", "arguments": given}}
    script(fake_ollama, calls(wanted), says("Sorry."))
    ran = able.run("%%ollama -T get_weather\nWeather?")
    assert ran.text.startswith("Sorry.\n\n[")
    assert ran.asked == []
    assert last_messages(fake_ollama)[-1]["content"].startswith(told)
    assert titles(ran)[0].startswith(f"get_weather {{}} was not called: {told[:20]}")


@pytest.mark.parametrize("given", [None, "", "{}", {}, "null", '"{}"', " ", "absent"])
def test_missing_arguments_can_be_written_in_many_ways(able, fake_ollama, given):
    able.run("def now(): return 'noon'")
    function = (
        {"name": "now"} if given == "absent" else {"name": "now", "arguments": given}
    )
    script(fake_ollama, calls({"function": function}), says("Noon."))
    ran = able.run("%%ollama -T now --yes\nTime?")
    assert titles(ran) == ["called now {}"]
    assert last_messages(fake_ollama)[-1]["content"] == "noon"


def test_the_question_shows_the_arguments_that_the_function_gets(able, fake_ollama):
    able.run("def add(n: int, to: list[str], by: int = 2): return n")
    script(fake_ollama, calls(call("add", n="3", to='["a"]', by=None)), says("Done."))
    able.answers = ["y"]
    ran = able.run("%%ollama -T add\nGo.")
    assert ran.asked == ['Call add(n=3, to=["a"])? [y]es, [n]o, [a]lways: ']
    assert last_messages(fake_ollama)[-1]["content"] == "3"


def test_a_web_search_is_confirmed_named_and_keeps_its_sources(
    able, fake_ollama, tmp_path
):
    url = "https://yr.example/oslo"
    found = {"results": [{"title": "Oslo", "url": url, "content": "Rain."}]}
    fake_ollama.on("POST /api/experimental/web_search", json_answer(found))
    wanted = calls(call("web_search", query="oslo"), call("web_search", query="b"))
    script(fake_ollama, wanted, says("Rain."))
    able.answers = ["y", "n"]
    ran = able.run("%%ollama -T web_search\nRain?", cell_id="a")
    assert ran.asked == [
        f'Call web_search(query="{query}"), sent to ollama.com? [y]es, [n]o, [a]lways: '
        for query in ("oslo", "b")
    ]
    assert fake_ollama.bodies("/api/experimental/web_search") == [
        {"query": "oslo", "max_results": 5}
    ]
    assert "1 search sent to ollama.com" in ran.html
    assert f'<a href="{url}"' in ran.html
    file, copy = tmp_path / "chat.json", tmp_path / "copy.json"
    lines = (
        f"%ollama export {file}",
        f"%ollama import {file} -c copy",
        (f"%ollama export {copy}"),
    )
    for line in lines:
        ran = able.run(line)
        assert ran.status == "ok", ran.streams
    for exported in (file, copy):
        (turn,) = json.loads(exported.read_text("utf-8"))["turns"]
        assert turn["steps"][1]["sources"] == [{"title": "Oslo", "url": url}]
        assert turn["steps"][1]["sent_to"] == "ollama.com"
    able.run("%ollama chat main")
    page, again = tmp_path / "chat.md", tmp_path / "again.json"
    for line in (
        f"%ollama export {page}",
        f"%ollama import {page} -c read",
        f"%ollama export {again}",
        "%ollama chat main",
    ):
        assert able.run(line).status == "ok", line
    assert f"Sources:  \n1. Oslo – {url}" in page.read_text("utf-8")
    (turn,) = json.loads(again.read_text("utf-8"))["turns"]
    assert (turn["prompt"], turn["reply"]) == ("Rain?", "Rain.")
    script(fake_ollama, says("Yes."))
    able.run("%%ollama\nSure?", cell_id="b")
    known = {"role", "content", "tool_calls", "tool_name"}
    assert {key for m in last_messages(fake_ollama) for key in m} == known
