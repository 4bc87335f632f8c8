"""Functions that a model calls, as a person sees it, through a real kernel."""

import json
import re
import threading

import pytest
from fake_ollama import Answer, Wait, answer_of, reply_line

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
    """Give a kernel with two functions, and a model that calls some."""
    fake_ollama.models([ABLE])
    assert kernel.run(DEFINE).status == "ok"
    return kernel


def call(name, id="", **arguments):
    named = {"id": id} if id else {}
    return {**named, "function": {"index": 0, "name": name, "arguments": arguments}}


def calls(*wanted, **more):
    """Answer with calls of functions, as recorded: not in the last line."""
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


def test_a_function_is_described_called_and_told_of(able, fake_ollama):
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


def test_the_next_cell_is_sent_what_the_function_gave(able, fake_ollama):
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
    assert ran.asked == ["Call get_weather? [y]es, [n]o, [a]lways: "]
    assert seen(able) == "['Oslo']"


def test_nothing_is_cleared_while_a_question_may_be_open(able, fake_ollama):
    """A question goes by another channel: a front end may be told to clear after it.

    JupyterLab would take the box away, and nobody could answer.
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
    assert ran.messages.count("clear_output") == 1  # for the answer, at the end


def test_no_declines_and_the_model_is_told(able, fake_ollama):
    script(fake_ollama, calls(call("get_weather", city="Oslo")), says("As you like."))
    able.answers = ["n"]
    ran = able.run("%%ollama -T get_weather\nWeather?")
    assert ran.text == "As you like."
    assert last_messages(fake_ollama)[-1]["content"] == "The user declined this call."
    assert seen(able) == "[]"


def test_always_holds_for_that_function_in_this_cell_alone(able, fake_ollama):
    two = calls(call("get_weather", city="Oslo"), call("get_weather", city="Rome"))
    script(fake_ollama, two, calls(call("fails", why="x")), says("Done."))
    able.answers = ["a", "y"]
    ran = able.run("%%ollama -T get_weather -T fails\nWeather?")
    assert [question.split("?")[0] for question in ran.asked] == [
        "Call get_weather",
        "Call fails",
    ]
    script(fake_ollama, calls(call("get_weather", city="Bonn")), says("Done."))
    able.answers = ["n"]
    assert able.run("%%ollama -T get_weather\nAnd Bonn?").asked


def test_with_nobody_to_ask_calls_are_refused(able, fake_ollama):
    script(fake_ollama, calls(call("get_weather", city="Oslo")), says("I can't."))
    ran = able.run("%%ollama -T get_weather\nWeather?")
    assert ran.status == "ok"
    assert "refused" in last_messages(fake_ollama)[-1]["content"]
    assert "--yes allows" in ran.html
    assert seen(able) == "[]"


def test_a_function_that_raises_tells_the_model(able, fake_ollama):
    script(fake_ollama, calls(call("fails", why="no such place")), says("Sorry."))
    ran = able.run("%%ollama -T fails --yes\nGo.")
    assert ran.status == "ok"
    told = last_messages(fake_ollama)[-1]["content"]
    assert told == "ValueError: no such place"


def test_only_the_functions_that_were_named_can_be_called(able, fake_ollama):
    bad = [call(name) for name in ("fails", "print", "seen.clear", "__import__", "")]
    script(fake_ollama, calls(*bad), says("Hm."))
    ran = able.run("%%ollama -T get_weather --yes\nGo.")
    assert ran.status == "ok", ran.error
    told = [m["content"] for m in last_messages(fake_ollama) if m["role"] == "tool"]
    assert len(told) == len(bad)
    assert all("There is no function" in text for text in told)
    assert all("get_weather" in text for text in told)


def test_wrong_arguments_are_told_and_nothing_is_called(able, fake_ollama):
    wrong = [call("get_weather"), call("get_weather", city=3)]
    script(fake_ollama, calls(*wrong), says("Hm."))
    able.run("%%ollama -T get_weather --yes\nGo.")
    told = [m["content"] for m in last_messages(fake_ollama) if m["role"] == "tool"]
    assert all("city" in text for text in told)
    assert seen(able) == "[]"


def test_the_rounds_have_a_limit_and_the_model_answers_then(able, fake_ollama):
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


def test_a_one_off_may_call_functions_and_leaves_no_turn(able, fake_ollama):
    script(fake_ollama, calls(call("get_weather", city="Oslo")), says("Sunny."))
    ran = able.run("%%ollama -1 -T get_weather --yes -s 'Be brief.'\nWeather?")
    assert ran.status == "ok", ran.error
    assert fake_ollama.bodies("/api/generate") == []
    assert last_messages(fake_ollama)[0] == {"role": "system", "content": "Be brief."}
    assert "Weather?" not in able.run("%ollama history").text


def test_it_works_without_streaming(able, fake_ollama):
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


def test_an_interrupt_within_a_function_keeps_a_sound_turn(able, fake_ollama, tmp_path):
    able.run(
        "import threading\n"
        "def waits():\n"
        "    'Wait for long.'\n"
        f"    open({str(tmp_path / 'called')!r}, 'w').close()\n"
        "    threading.Event().wait(60)"
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
    script(fake_ollama, says("Fine."))
    able.run("%%ollama\nAnd?", cell_id="b")
    roles = [m["role"] for m in last_messages(fake_ollama)]
    assert roles == ["user", "assistant", "tool", "tool", "user"]


def test_a_later_round_that_breaks_off_keeps_what_was_called(able, fake_ollama):
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
        ("-T get_weather --schema 'a'", "contradict"),
        ("-T get_weather -f json", "calls no functions"),
        ("-T get_weather -T get_weather", "get_weather"),
    ],
)
def test_what_cannot_be_is_an_error_and_nothing_is_sent(able, fake_ollama, line, said):
    ran = able.run(f"%%ollama {line}\nGo.")
    assert ran.status == "error"
    assert said in (ran.error or ran.streams)
    assert fake_ollama.bodies("/api/chat") == []


def test_a_model_that_calls_no_functions_is_not_asked(able, fake_ollama):
    other = {"name": "able:1b", "capabilities": ["completion", "tools"]}
    fake_ollama.models([{"name": MODEL, "capabilities": ["completion"]}, other])
    ran = able.run(f"%%ollama {MODEL} -T get_weather\nGo.")
    assert "CapabilityError" in ran.error
    assert "able:1b" in ran.error
    assert fake_ollama.bodies("/api/chat") == []


def test_a_dry_run_shows_what_the_model_would_be_told(able, fake_ollama):
    ran = able.run("%%ollama --dry-run -T get_weather\nGo.")
    assert '"tools": [' in ran.text
    assert "Get the weather of a city." in ran.text


def test_the_recorded_calls_of_a_real_server_work(able, fake_ollama, recording):
    """The answer of the recording, on a function of the name that it calls."""
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


def test_the_call_that_is_asked_about_is_shown_whole_before(able, fake_ollama):
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

    able.collect(able.send("%%ollama -T get_weather\nGo."), until)
    assert long in shown[0]


def test_what_the_model_is_told_of_functions_counts_in_the_estimate(able):
    def size(line):
        text = able.run(f"%%ollama --dry-run {line}\nGo.").text
        return int(re.search(r"about ([\d,]+)", text)[1].replace(",", ""))

    assert size("-T get_weather") > size("") + 20
