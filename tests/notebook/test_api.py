"""The Python functions, in a notebook and in a script."""

import subprocess
import sys
from dataclasses import dataclass, fields
from inspect import signature

import pytest
from fake_ollama import Answer, json_answer, reply_line

import ollama_magic
from ollama_magic import api
from ollama_magic.generation.options import ChatOptions
from ollama_magic.generation.settings import Settings
from ollama_magic.notebook.magics import OllamaMagics

MODEL = "llama3.2:3b"
DECIDED = {"target", "compare", "once", "append", "raw", "quiet", "dry_run", "extract"}
DECIDED |= {"hide_thinking"}
DECIDED |= {"template", "template_use"}  # in Python a text is a text, with @ too
DECIDED |= {"choose"}  # the function is `decide`
DECIDED |= {"cells", "above", "outputs"}  # Python code has its values, and no place
"""Options that have a meaning in cells only."""


@pytest.fixture
def script(fake_ollama, monkeypatch):
    """Give the environment of a script: no extension is loaded."""
    monkeypatch.setenv("OLLAMA_HOST", fake_ollama.url)
    return fake_ollama


def test_ask_is_a_one_off(script):
    script.reply("Blue, {it} is.")
    reply = ollama_magic.ask("Why {{ x }}?", system="Be brief.", options={"seed": 1})
    assert str(reply) == "Blue, {it} is."
    (body,) = script.bodies("/api/generate")
    assert body["prompt"] == "Why {{ x }}?"
    assert (body["system"], body["options"]) == ("Be brief.", {"seed": 1})
    assert script.bodies("/api/chat") == []


def test_a_chat_continues_and_has_a_name(script):
    ollama_magic.chat("One?")
    ollama_magic.chat("Two?")
    ollama_magic.chat("Apart?", name="ideas")
    ollama_magic.chat("Three?", last=1)
    ollama_magic.chat("Anew?", new=True)
    asked = [
        [m["content"] for m in body["messages"] if m["role"] == "user"]
        for body in script.bodies("/api/chat")
    ]
    assert asked == [
        ["One?"],
        ["One?", "Two?"],
        ["Apart?"],
        ["Two?", "Three?"],
        ["Anew?"],
    ]


@dataclass
class Person:
    name: str
    age: int


def test_a_class_is_a_schema_and_the_data_is_an_instance(script):
    script.reply('{"name": "Ada", "age": 36}')
    assert ollama_magic.ask("Who?", schema=Person).data == Person("Ada", 36)


def test_functions_and_images_are_passed_as_objects(script):
    able = ["completion", "tools", "vision"]
    script.models([{"name": MODEL, "capabilities": able}])

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    call = {"function": {"name": "add", "arguments": {"a": 1, "b": 2}}}
    body = {"model": MODEL, "messages": []}
    script.on(
        "POST /api/chat",
        Answer([reply_line(body, tool_calls=[call]), reply_line(body, done=True)]),
        Answer([reply_line(body, content="3"), reply_line(body, done=True)]),
    )
    png = b"\x89PNG\r\n\x1a\n" + bytes(30)
    reply = ollama_magic.chat("1 + 2?", tools=[add], yes=True, images=[png])
    assert reply.text == "3"
    first, second = script.bodies("/api/chat")
    assert len(first["messages"][0]["images"]) == 1
    assert second["messages"][-1]["content"] == "3"
    assert reply.tool_calls[0].arguments == {"a": 1, "b": 2}


def test_stream_yields_text_and_leaving_it_ends_the_request(script):
    script.reply(["One", " two", " three"], thinking="Hm.")
    assert list(ollama_magic.stream("Count.")) == ["One", " two", " three"]
    body = {"model": MODEL, "prompt": ""}
    endless = Answer(reply_line(body, content="x") for _ in iter(int, 1))
    script.on("POST /api/generate", endless)
    pieces = ollama_magic.stream("Count.")
    assert next(pieces) == "x"
    pieces.close()
    assert script.wait_for("/api/generate", count=2).wait_closed()


def test_embed_takes_one_text_or_several(script):
    script.models(["chat:1b", {"name": "vec:1b", "capabilities": ["embedding"]}])
    script.on(
        "POST /api/embed",
        lambda request: json_answer(
            {"embeddings": [[1.0, 2.0]] * len(request.json["input"])}
        ),
    )
    assert ollama_magic.embed("a") == (1.0, 2.0)
    assert ollama_magic.embed(["a", "b"], dimensions=2) == [(1.0, 2.0)] * 2
    assert [b["model"] for b in script.bodies("/api/embed")] == ["vec:1b"] * 2
    assert script.bodies("/api/embed")[1]["dimensions"] == 2


def test_embed_says_that_no_model_can_embed(script):
    with pytest.raises(ollama_magic.OllamaMagicError, match="no embedding model"):
        ollama_magic.embed("a")


@pytest.mark.parametrize("name", ["ask", "chat", "stream"])
def test_a_wrong_option_is_an_error_and_nothing_is_sent(script, name):
    with pytest.raises(ollama_magic.OllamaMagicError, match="temprature"):
        list(getattr(ollama_magic, name)("Hi", options={"temprature": 1}))
    assert script.bodies("/api/generate") == script.bodies("/api/chat") == []


@pytest.mark.parametrize("name", ["ask", "chat", "stream"])
@pytest.mark.parametrize("prompt", [7, None, b"Hi", ["Hi"], "", " "], ids=str)
def test_a_prompt_is_text(script, name, prompt):
    with pytest.raises(ollama_magic.OllamaMagicError) as caught:
        list(getattr(ollama_magic, name)(prompt))
    assert caught.value.what.startswith("The prompt ")
    assert script.bodies("/api/generate") == script.bodies("/api/chat") == []


@pytest.mark.parametrize("name", ["models", "panel", "OllamaClient"])
def test_a_host_is_text(script, name):
    with pytest.raises(ollama_magic.OllamaMagicError, match="host '5' is invalid"):
        getattr(ollama_magic, name)(5)


@pytest.mark.parametrize("hosts", [5, {"gpu"}, [], [5]], ids=str)
def test_hosts_are_a_list_of_addresses(script, hosts):
    with pytest.raises(
        ollama_magic.OllamaMagicError, match=r"^(hosts cannot|The host)"
    ):
        ollama_magic.map_prompts("{}", ["a"], hosts=hosts)


def test_the_model_of_embed_is_checked(script):
    with pytest.raises(ollama_magic.OllamaMagicError, match="model cannot be 5"):
        ollama_magic.embed("a", model=5)


WRONG_VALUES = {
    "format": ({"format": "markdwn"}, "format cannot be 'markdwn'", "'markdown'"),
    "think": ({"think": "a b"}, "think cannot be 'a b'", "'high'"),
    "keep_alive": ({"keep_alive": "soon"}, "keep_alive cannot be 'soon'", "'10m'"),
    "last": ({"last": -1}, "last cannot be -1", "last=2"),
    "last text": ({"last": "x"}, "last cannot be 'x'", "last=2"),
    "new": ({"new": "no"}, "new cannot be 'no'", "new=True"),
    "system": ({"system": 1}, "system cannot be 1", "system="),
    "options": ({"options": [1]}, "options cannot be [1]", "options={"),
    "model": ({"model": ""}, "model cannot be ''", "model='llama3.2'"),
    "think number": ({"think": 1}, "think cannot be 1", "'high'"),
}


@pytest.mark.parametrize(
    ("given", "what", "next_step"), WRONG_VALUES.values(), ids=WRONG_VALUES
)
def test_an_error_about_an_invalid_value_shows_a_valid_one(
    script, given, what, next_step
):
    with pytest.raises(ollama_magic.OllamaMagicError) as caught:
        ollama_magic.chat("Hi", **given)
    assert caught.value.what == f"{what}."
    assert next_step in caught.value.next_step
    assert script.bodies("/api/chat") == []


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"keep_alive": 10}, {"keep_alive": 10}),
        ({"keep_alive": -1}, {"keep_alive": -1}),
        ({"keep_alive": "10"}, {"keep_alive": 10}),
        ({"think": False}, {"think": False}),
        ({"format": "json"}, {"format": "json"}),
        ({"options": {"stop": "END"}}, {"options": {"stop": ["END"]}}),
    ],
)
def test_a_value_from_python_is_sent_like_one_on_the_line(script, given, sent):
    ollama_magic.ask("Hi", **given)
    (body,) = script.bodies("/api/generate")
    assert sent.items() <= body.items()


def test_an_invalid_setting_is_rejected_at_once_and_when_the_extension_loads(kernel):
    ran = kernel.run("%config OllamaMagics.keep_alive = 'soon'")
    assert "keep_alive cannot be 'soon'" in ran.streams
    assert "%config OllamaMagics.keep_alive = '10m'" in ran.streams
    ran = kernel.run("%reload_ext ollama_magic")
    assert "OllamaMagics.keep_alive cannot be 'soon'" in ran.streams
    assert kernel.run("%%ollama\nHi").status == "ok"


def test_a_setting_that_was_changed_in_place_is_checked_before_anything_is_sent(
    kernel, fake_ollama
):
    kernel.run("get_ipython().meta['ollama_magic'].options['temprature'] = 1")
    assert "temprature" in kernel.run("%%ollama\nHi").error
    assert fake_ollama.bodies("/api/chat") == []


@pytest.mark.parametrize("name", ["ask", "chat"])
def test_every_option_of_a_cell_is_a_parameter(name):
    """Every parameter is a field of one value, so none is accepted and ignored."""
    has = set(signature(getattr(api, name)).parameters) - {"prompt"}
    wanted = {field.name for field in fields(ChatOptions)} - DECIDED - {"stream"}
    if name == "ask":
        wanted -= {"chat", "new", "last"}
    else:
        wanted = wanted - {"chat"} | {"name"}
    assert has == wanted


def test_the_defaults_of_a_script_are_those_of_a_notebook():
    traits = OllamaMagics.class_traits(config=True)
    assert {name: trait.default() for name, trait in traits.items()} == vars(Settings())


def test_in_a_notebook_the_functions_use_its_settings_and_its_chat(kernel, fake_ollama):
    kernel.run("%%ollama\nFirst?", cell_id="a")
    ran = kernel.run("from ollama_magic import chat\nchat('Second?')", cell_id="b")
    assert ran.status == "ok", ran.error
    assert ran.place == "turn 2 of main"
    kernel.run("chat('Second, again?')", cell_id="b")
    asked = [m["content"] for m in fake_ollama.bodies("/api/chat")[-1]["messages"]]
    assert asked[-1] == "Second, again?"
    assert "Second?" not in asked


def test_web_frameworks_get_the_page_that_a_notebook_shows(kernel, fake_ollama):
    """Streamlit calls ``_repr_html_``; a notebook still shows the reply once."""
    fake_ollama.reply("# Sky")
    ran = kernel.run("from ollama_magic import ask\nreply = ask('hi')\nreply")
    (output,) = ran.outputs
    ran = kernel.run("print(reply._repr_html_(), end='')")
    assert ran.streams == output["data"]["text/html"]
    assert ">Sky<" in ran.streams


def test_models_and_panel_use_the_server_of_the_notebook(kernel):
    """The server is a setting of the notebook; the environment names none."""
    imports = "from ollama_magic import models, panel\n"
    assert "llama3.2:3b" in kernel.run(f"{imports}models()").text
    assert "llama3.2:3b" in kernel.run("panel()").text


def test_a_plain_script_can_ask(fake_ollama, tmp_path):
    code = (
        "from ollama_magic import ask, chat\n"
        "print(ask('Hi'), chat('Hi'), chat('Hi').stats.eval_count)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env={"OLLAMA_HOST": fake_ollama.url, "HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "Hello! Hello! 8\n"
