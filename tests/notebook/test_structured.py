"""Structured output in a real kernel."""

import json
import os
import subprocess
import sys

import pytest
from fake_ollama import Answer, reply_line

GOOD = '{"name": "Ada", "age": 36}'
SPEC = "--schema 'name, age int'"


def answers(fake_ollama, *texts, **end):
    """Answer chat requests one after the other."""

    def lines(text):
        body = {"model": "llama3.2:3b", "messages": []}
        return [reply_line(body, content=text), reply_line(body, done=True, **end)]

    fake_ollama.on("POST /api/chat", *(Answer(lines(text)) for text in texts))


def test_the_schema_is_sent_and_the_reply_has_data(kernel, fake_ollama):
    answers(fake_ollama, GOOD)
    ran = kernel.run(f"%%ollama who << {SPEC}\nWho?")
    assert ran.status == "ok", ran.error
    (body,) = fake_ollama.bodies("/api/chat")
    assert body["format"]["properties"] == {
        "name": {"type": "string"},
        "age": {"type": "integer"},
    }
    assert kernel.run("print(who.data['age'] + 1)").streams == "37\n"
    assert "requested twice" not in ran.text


def test_an_invalid_reply_is_requested_once_more_and_leaves_no_trace(
    kernel, fake_ollama
):
    answers(fake_ollama, '{"name": "Ada"}', GOOD)
    ran = kernel.run(f"%%ollama who << {SPEC}\nWho?")
    assert "requested twice: the first reply did not match the schema" in ran.html
    first, second = fake_ollama.bodies("/api/chat")
    assert len(first["messages"]) == 1
    assert second["messages"][1] == {"role": "assistant", "content": '{"name": "Ada"}'}
    advice = second["messages"][2]["content"]
    assert "'age' is a required property" in advice
    assert json.dumps(first["format"]) in advice  # a server may ignore the format
    assert second["format"] == first["format"]
    assert kernel.run("print(who.data)").streams == "{'name': 'Ada', 'age': 36}\n"
    kernel.run("%%ollama\nAnd?")
    assert [m["content"] for m in fake_ollama.bodies("/api/chat")[-1]["messages"]] == [
        "Who?",
        GOOD,
        "And?",
    ]


def test_a_reply_that_stays_invalid_is_kept_and_says_so(kernel, fake_ollama):
    answers(fake_ollama, "no", "still no")
    ran = kernel.run(f"%%ollama who << {SPEC}\nWho?")
    assert ran.status == "ok"
    assert "does not match its schema" in ran.text
    assert len(fake_ollama.bodies("/api/chat")) == 2
    assert kernel.run("print(who.text)").streams == "still no\n"
    error = kernel.run("who.data").error
    assert "ReplyDataError" in error
    assert "next:" in error


def test_a_reply_that_is_cut_gets_no_repair_request(kernel, fake_ollama):
    answers(fake_ollama, '{"name": "A', done_reason="length")
    ran = kernel.run(f"%%ollama {SPEC}\nWho?")
    assert "-o num_predict N" in ran.text
    assert len(fake_ollama.bodies("/api/chat")) == 1


def test_a_second_reply_that_is_cut_does_not_lose_the_first(kernel, fake_ollama):
    body = {"model": "llama3.2:3b", "messages": []}
    first = Answer([reply_line(body, content="no"), reply_line(body, done=True)])
    fake_ollama.on("POST /api/chat", first, Answer([{"error": "the runner died"}]))
    ran = kernel.run(f"%%ollama {SPEC}\nWho?")
    assert ran.status == "error"
    assert "no" in ran.text.splitlines()
    assert "the runner died" in ran.error


def test_a_reply_that_is_whole_before_it_is_cut_is_data(kernel, fake_ollama):
    answers(fake_ollama, f"```json\n{GOOD}\n```\nThis is", done_reason="length")
    ran = kernel.run(f"%%ollama who << {SPEC}\nWho?")
    assert "not valid JSON" not in ran.text
    assert kernel.run("print(who.data['age'])").streams == "36\n"


PIXEL = """
import base64
pixel = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)
"""


@pytest.mark.parametrize("options", ["", "-1"])
def test_the_second_request_has_the_image_too(kernel, fake_ollama, options):
    fake_ollama.models(
        [{"name": "llama3.2:3b", "capabilities": ["completion", "vision"]}]
    )
    kernel.run(PIXEL)
    fake_ollama.reply("no")
    ran = kernel.run(f"%%ollama {options} -a pixel {SPEC}\nWho?")
    assert ran.status == "ok", ran.error
    messages = fake_ollama.bodies("/api/chat")[-1]["messages"]
    assert [len(message.get("images", ())) for message in messages] == [1, 0, 0]


CLOUD = {
    "by its name": ("gpt-oss:120b-cloud", {"name": "gpt-oss:120b-cloud"}),
    "by its tag": ("kimi-k2.6:cloud", {"name": "kimi-k2.6:cloud"}),
    "by its host": (
        "mine:latest",
        {"name": "mine:latest", "remote_host": "https://ollama.com:443"},
    ),
}


@pytest.mark.parametrize(("model", "listed"), CLOUD.values(), ids=CLOUD)
def test_a_cloud_model_gets_the_schema_in_words(kernel, fake_ollama, model, listed):
    fake_ollama.models([listed])
    fake_ollama.reply(GOOD)
    kernel.run(f"%%ollama who << {model} {SPEC}\nWho?")
    kernel.run(f"%%ollama {model} -1 {SPEC}\nWho?")
    kernel.run(f"%%ollama {model} -f json\nAnd?")
    kernel.run(
        "from ollama_magic import map_prompts\n"
        f"map_prompts('{{}}', ['Who?'], model={model!r}, schema='name, age int')"
    )
    first, third = fake_ollama.bodies("/api/chat")
    words = (
        "Who?\n\nAnswer with JSON that matches this JSON Schema, and nothing else:\n"
        f"{json.dumps(first['format'])}"
    )
    assert [m["content"] for m in first["messages"]] == [words]
    assert [body["prompt"] for body in fake_ollama.bodies("/api/generate")] == [
        words
    ] * 2
    assert [m["content"] for m in third["messages"]] == [
        "Who?",
        GOOD,
        "And?\n\nAnswer with JSON, and nothing else.",
    ]
    assert kernel.run("print(who.data['name'])").streams == "Ada\n"
    again = kernel.run(
        f"map_prompts('{{}}', ['Who?'], model={model!r}, schema='name, age int')"
    )
    assert "Ada" in again.text
    assert len(fake_ollama.bodies("/api/generate")) == 2


def test_a_type_on_the_line_is_the_schema(kernel, fake_ollama):
    kernel.run(
        "class P(__import__('pydantic').BaseModel):\n    name: str\n    age: int"
    )
    fake_ollama.reply(f"[{GOOD}]")
    kernel.run("%%ollama who << --schema list[P]\nWho?")
    assert kernel.run("print(who.data)").streams == "[P(name='Ada', age=36)]\n"


def test_a_one_off_reply_is_repaired_too(kernel, fake_ollama):
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


VALIDATED = """\
import pydantic
class Person(pydantic.BaseModel):
    name: str
    age: int
    @pydantic.field_validator("name")
    @classmethod
    def check(cls, name):
        if name.islower():
            raise ValueError("begin it with a capital")
        return name
"""


def test_a_reply_that_a_validator_rejects_is_requested_once_more(kernel, fake_ollama):
    answers(fake_ollama, '{"name": "ada", "age": 36}', GOOD)
    kernel.run(VALIDATED)
    ran = kernel.run("%%ollama who << --schema Person\nWho?")
    assert "requested twice: the first reply did not match the schema" in ran.html
    advice = fake_ollama.bodies("/api/chat")[1]["messages"][2]["content"]
    assert "at name: begin it with a capital" in advice
    assert kernel.run("print(repr(who.data))").streams == (
        "Person(name='Ada', age=36)\n"
    )


def test_a_reply_that_a_validator_keeps_rejecting_is_one_of_our_errors(
    kernel, fake_ollama
):
    fake_ollama.reply('{"name": "ada", "age": 36}')
    kernel.run(VALIDATED)
    ran = kernel.run("%%ollama who << --schema Person\nWho?")
    assert "[does not match its schema: at name: begin it with a capital]" in ran.text
    error = kernel.run("who.data").error
    assert "ReplyDataError: The reply does not match its schema." in error
    assert "pydantic" not in error


UNUSABLE_TYPES = {
    "an undefined name": "@dataclass\nclass T:\n    a: 'Nowhere'",
    "a model that is not complete": "class T(pydantic.BaseModel):\n    a: 'Nowhere'",
    "an object": "T = object()",
    "a class": "class T: ...",
}
MAKE = "import pydantic\nfrom dataclasses import dataclass\n"


@pytest.mark.parametrize("source", UNUSABLE_TYPES.values(), ids=UNUSABLE_TYPES)
def test_the_error_for_an_invalid_type_has_three_lines(kernel, fake_ollama, source):
    kernel.run(MAKE + source)
    for use in (
        "%%ollama --schema T\nWho?",
        "from ollama_magic import ask\nask('Who?', schema=T)",
        "from ollama_magic import map_prompts\nmap_prompts('{}', ['a'], schema=T)",
    ):
        error = kernel.run(use).error
        assert error.startswith("PromptError: The schema ")
        assert len(error.splitlines()) == 3
    assert fake_ollama.bodies("/api/chat") == []


def test_types_of_typing_are_schemas_and_data(kernel, fake_ollama):
    kernel.run("from typing import Literal\nMood = Literal['good', 'bad']")
    fake_ollama.reply('"good"')
    kernel.run("%%ollama mood << --schema Mood\nHow?")
    body = fake_ollama.bodies("/api/chat")[-1]
    assert body["format"] == {"enum": ["good", "bad"], "type": "string"}
    assert kernel.run("print(mood.data)").streams == "good\n"


PROBE = """\
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "ollama_magic")
shell.run_cell_magic("ollama", "-1", "Hi")
late = ("pydantic", "jsonschema", "docstring_parser")
print("loaded:", [name for name in late if name in sys.modules])
"""


def test_a_cell_without_a_schema_imports_no_schema_library(fake_ollama):
    environment = {**os.environ, "OLLAMA_HOST": fake_ollama.url}
    ran = subprocess.run(
        [sys.executable, "-c", PROBE],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.stdout.endswith("loaded: []\n"), ran.stderr


def test_a_list_becomes_a_data_frame(kernel, fake_ollama):
    pytest.importorskip("pandas")
    answers(fake_ollama, json.dumps([{"n": 1}, {"n": 2}]))
    kernel.run("%%ollama rows << --schema '[n int]'\nCount.")
    assert kernel.run("print(rows.to_frame()['n'].sum())").streams == "3\n"


def test_the_setting_think_is_ignored_with_a_schema_and_the_option_applies(
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
    assert "\nformat: {" in ran.text
    assert '"required"' in ran.text


def test_files_and_tables_are_sent_and_listed(kernel, fake_ollama, tmp_path):
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


# -- JSON with other text around it ------------------------------------------------


AROUND = {
    "a fence": f"```json\n{GOOD}\n```",
    "a fence without a language": f"```\n{GOOD}\n```",
    "a fence in prose": f"Here you are:\n\n```json\n{GOOD}\n```\nAnything else?",
    "prose": f"Sure! {GOOD} Hope this helps {{smile}}.",
    "prose and a footnote": f"As said in [1], it is {GOOD}.",
    "after thinking": f"I think [1, 2] and {{}}\n</think>\n{GOOD}",
    "a fence after thinking": f"so {{}} maybe</think>```JSON\n{GOOD}\n```",
    "a fence beside code": f"```python\nx = {{}}\n```\n```json\n{GOOD}\n```",
}


@pytest.mark.parametrize("options", [SPEC, "-f json", "-1 -f json", ""])
@pytest.mark.parametrize("text", AROUND.values(), ids=AROUND)
def test_json_with_other_text_around_it_is_the_data(kernel, fake_ollama, text, options):
    fake_ollama.reply(text)
    ran = kernel.run(f"%%ollama who << {options}\nWho?")
    assert "does not match" not in ran.text
    assert kernel.run("print(who.data)").streams == "{'name': 'Ada', 'age': 36}\n"
    paths = [request.path for request in fake_ollama.requests]
    assert paths.count("/api/chat") + paths.count("/api/generate") == 1


def test_of_several_values_the_one_that_matches_is_the_data(kernel, fake_ollama):
    fake_ollama.reply(f'It has {{"properties": {{"name": {{}}}}}}: {GOOD}')
    kernel.run(f"%%ollama who << {SPEC}\nWho?")
    assert kernel.run("print(who.data['name'])").streams == "Ada\n"


NO_DATA = {
    "two fences": f"```json\n{GOOD}\n```\nor\n```json\n{GOOD}\n```",
    "two in prose": f"Either {GOOD} or {GOOD}.",
    "a list that was cut": '[{"name": "Ada", "age": 36}, {"name": "Bo',
    "a fence that was cut": '```json\n[{"name": "Ada", "age": 36},\n',
    "an object that was cut": 'Here: {"inner": {"name": "Ada", "age": 36}, "b',
    "a footnote": "As said in [1], nobody.",
    "endless nesting": "[" * 100_000,
}


@pytest.mark.parametrize("text", NO_DATA.values(), ids=NO_DATA)
def test_text_that_is_not_one_whole_value_is_not_data(kernel, fake_ollama, text):
    fake_ollama.reply(text)
    kernel.run("%%ollama who << -f json\nWho?")
    error = kernel.run("who.data").error
    assert "ReplyDataError" in error
    assert "next: run it again, or use a larger model" in error


ADVICE = {
    "no format": ("", "stop", "next: add -f json"),
    "a format": ("-f json", "stop", "next: run it again, or use a larger model"),
    "a schema": (SPEC, "stop", "next: run it again, or use a larger model"),
    "a length limit": ("-f json", "length", "next: raise the limit: -o num_predict N"),
    "tools": ("-T f --yes", "stop", "next: ask for the JSON in the next cell"),
}


@pytest.mark.parametrize(("options", "end", "said"), ADVICE.values(), ids=ADVICE)
def test_the_error_of_data_advises_what_was_not_done(
    kernel, fake_ollama, options, end, said
):
    fake_ollama.models(
        [{"name": "llama3.2:3b", "capabilities": ["completion", "tools"]}]
    )
    fake_ollama.reply("no", done_reason=end)
    kernel.run("def f(): ...")
    kernel.run(f"%%ollama who << {options}\nWho?")
    assert said in kernel.run("who.data").error


def test_a_reply_that_was_cut_off_advises_to_run_it_again(kernel, fake_ollama):
    body = {"model": "llama3.2:3b", "messages": []}
    fake_ollama.on(
        "POST /api/chat", Answer([reply_line(body, content="so"), {"error": "died"}])
    )
    kernel.run("%%ollama\nWho?")
    kernel.run("x = %ollama last")
    error = kernel.run("x.data").error
    assert "next: run it again; the reply was cut off" in error


def test_lists_with_other_text_around_them_are_data(kernel, fake_ollama):
    for text in ("The list:\n[1, 2]\nDone.", "It is [1]:\n\n```\n[1, 2]\n```"):
        fake_ollama.reply(text)
        kernel.run("%%ollama some << -f json\nCount.")
        assert kernel.run("print(some.data)").streams == "[1, 2]\n"
    fake_ollama.reply('It is [{"n": 1}, {"n": 2}].')
    kernel.run("%%ollama some << --schema '[n int]'\nCount.")
    assert kernel.run("print(some.data[1])").streams == "{'n': 2}\n"


# -- references --------------------------------------------------------------------


FOREIGN = {
    "an address": {"properties": {"p": {"$ref": "URL/leak?x=1"}}},
    "at the top": {"$ref": "URL/leak"},
    "dynamic": {"items": {"$dynamicRef": "URL/leak#node"}},
    "a file": {"$ref": "file:///etc/hostname.json"},
    "a missing file": {"$ref": "file:///nonexistent"},
    "relative to an address": {"$id": "URL/a/b", "allOf": [{"$ref": "c"}]},
    "dangling": {"properties": {"p": {"$ref": "#/$defs/Nope"}}},
    "a missing anchor": {"anyOf": [{"$ref": "#nope"}]},
    "through an unknown part": {
        "$ref": "#/components/A",
        "components": {"A": {"not": {"$ref": "URL/leak"}}},
    },
    "not an address": {"$ref": "http://[oops"},
    "into a string": {"title": "x", "$ref": "#/title/y"},
    "to a part that is not a schema": {"title": "x", "$ref": "#/title"},
    "a part of an unknown dialect": {
        "properties": {"p": {"$schema": "URL/dialect", "$ref": "#/nope"}}
    },
}
USES = {
    "a cell": "%%ollama -1 --schema s\nWho?",
    "ask": "from ollama_magic import ask\nask('Who?', schema=s)",
    "map_prompts": (
        "from ollama_magic import map_prompts\nmap_prompts('{}', ['a', 'b'], schema=s)"
    ),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("schema", FOREIGN.values(), ids=FOREIGN)
def test_a_reference_to_another_file_is_an_error_and_nothing_is_fetched(
    kernel, fake_ollama, schema, use
):
    schema = json.dumps(schema).replace("URL", fake_ollama.url)
    kernel.run(f"import json\ns = json.loads({schema!r})")
    ran = kernel.run(use)
    assert "PromptError: The schema" in ran.error
    assert "next: " in ran.error
    assert len(ran.error.splitlines()) == 3
    paths = {request.path for request in fake_ollama.requests}
    assert paths <= {"/api/ps", "/api/tags", "/api/version"}


INSIDE = {
    "definitions": {
        "$ref": "#/$defs/P",
        "$defs": {
            "P": {
                "type": "object",
                "properties": {"name": {"$ref": "#/$defs/N"}, "age": {}},
                "required": ["name"],
            },
            "N": {"type": "string"},
        },
    },
    "as in OpenAPI": {
        "$ref": "#/components/schemas/P",
        "components": {
            "schemas": {
                "P": {"properties": {"name": {"$ref": "#/components/schemas/N"}}},
                "N": {"type": "string"},
            }
        },
    },
    "recursive": {
        "properties": {"name": {"type": "string"}, "friends": {"items": {"$ref": "#"}}}
    },
    "by its own address": {
        "$id": "https://a.example/p",
        "properties": {"name": {"$ref": "https://a.example/p#n"}},
        "$defs": {"N": {"$anchor": "n", "type": "string"}},
    },
    "names that look like references": {
        "properties": {
            "$ref": {"type": "string"},
            "name": {"enum": ["Ada", {"$ref": "x"}]},
        }
    },
}


@pytest.mark.parametrize("schema", INSIDE.values(), ids=INSIDE)
def test_references_inside_a_schema_work(kernel, fake_ollama, schema):
    kernel.run(f"s = {schema!r}")
    answers(fake_ollama, '{"name": 3}', GOOD)
    ran = kernel.run("%%ollama who << --schema s\nWho?")
    assert ran.status == "ok", ran.error
    assert "requested twice: the first reply did not match the schema" in ran.html
    assert kernel.run("print(who.data['name'])").streams == "Ada\n"


def test_a_schema_that_no_reply_can_match_sends_nothing(kernel, fake_ollama):
    ran = kernel.run('%%ollama --schema \'{"$ref": "#"}\'\nWho?')
    assert "PromptError: No value can match the schema." in ran.error
    assert fake_ollama.bodies("/api/chat") == []


def test_a_schema_that_is_nested_too_deeply_sends_nothing(kernel, fake_ollama):
    kernel.run("s = {}\nfor _ in range(300):\n    s = {'items': s}")
    error = kernel.run("%%ollama --schema s\nWho?").error
    assert "nested too deeply" in error
    assert fake_ollama.bodies("/api/chat") == []


def test_the_schema_of_a_tool_argument_fetches_nothing(kernel, fake_ollama):
    pytest.importorskip("pydantic")
    fake_ollama.models(
        [{"name": "llama3.2:3b", "capabilities": ["completion", "tools"]}]
    )
    extra = {"not": {"$ref": f"{fake_ollama.url}/leak"}}
    kernel.run(
        "import pydantic\n"
        "class Far(pydantic.BaseModel):\n"
        f"    model_config = {{'json_schema_extra': {extra}}}\n"
        "def far(it: Far): ..."
    )
    ran = kernel.run("%%ollama -T far --yes\nGo.")
    assert "far cannot be used as a tool" in ran.error
    assert "but does not contain it" in ran.error
    assert [r.path for r in fake_ollama.requests if r.path == "/leak"] == []


# -- tables ------------------------------------------------------------------------


CLASSES = """\
import dataclasses, pydantic
from typing import List, NamedTuple
class P(pydantic.BaseModel):
    name: str
    age: int = pydantic.Field(alias="years", default=1)
class Team(pydantic.RootModel[List[P]]): pass
class Pair(pydantic.BaseModel):
    left: P
    note: str = "none"
@dataclasses.dataclass
class D:
    name: str
    age: int = 1
@dataclasses.dataclass(slots=True)
class Box:
    inner: D
    tags: list[str]
class N(NamedTuple):
    name: str
    age: int
"""
FRAMES = {
    "a model": ("P", {"name": "Ada", "years": 36}, [{"name": "Ada", "years": 36}]),
    "a default": ("P", {"name": "Ada"}, [{"name": "Ada", "years": 1}]),
    "a list of models": (
        "list[P]",
        [{"name": "Ada", "years": 36}, {"name": "Bo"}],
        [{"name": "Ada", "years": 36}, {"name": "Bo", "years": 1}],
    ),
    "a root model": ("Team", [{"name": "Ada"}], [{"name": "Ada", "years": 1}]),
    "a model in a model": (
        "Pair",
        {"left": {"name": "Ada", "years": 2}},
        [{"left": {"name": "Ada", "years": 2}, "note": "none"}],
    ),
    "a named tuple": ("N", ["Ada", 36], [{"name": "Ada", "age": 36}]),
    "named tuples": ("list[N]", [["Ada", 36]], [{"name": "Ada", "age": 36}]),
    "a dataclass": ("D", {"name": "Ada"}, [{"name": "Ada", "age": 1}]),
    "a list of dataclasses": (
        "list[D]",
        [{"name": "Ada"}],
        [{"name": "Ada", "age": 1}],
    ),
    "a dataclass in one": (
        "Box",
        {"inner": {"name": "Ada"}, "tags": ["a"]},
        [{"inner": {"name": "Ada", "age": 1}, "tags": ["a"]}],
    ),
}


@pytest.mark.parametrize(("kind", "said", "rows"), FRAMES.values(), ids=FRAMES)
def test_a_table_has_the_fields_as_columns(kernel, fake_ollama, kind, said, rows):
    pytest.importorskip("pandas")
    pytest.importorskip("pydantic")
    kernel.run(f"{CLASSES}\nkind = {kind}")
    fake_ollama.reply(json.dumps(said))
    ran = kernel.run("%%ollama x << -1 --schema kind\nWho?")
    assert ran.status == "ok", ran.error
    printed = kernel.run(
        "import json\nprint(json.dumps(x.to_frame().to_dict('records')))"
    )
    assert json.loads(printed.streams) == rows
