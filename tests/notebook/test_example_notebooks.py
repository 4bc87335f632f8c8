"""The example notebooks with a scripted model that always gives the right reply."""

import base64
import json
import re
import struct

import pytest
from example_notebooks import EXAMPLES, execute
from fake_ollama import FakeOllama, reply_line

pytest.importorskip("pandas")
pytest.importorskip("matplotlib")

pytestmark = pytest.mark.slow

MODEL = "able:4b"
ABLE = {"name": MODEL, "capabilities": ["completion", "vision", "tools"]}
BAD = "broken|scratch|never|not work|loud|terrible"
INVOICES = [
    {"name": "Northern Power", "amount": 84.5, "due": "2026-11-15"},
    {"name": "Studio Lotus", "amount": 39.0, "due": "2026-11-30"},
    {"name": "J. Miller", "amount": 120, "due": "2026-12-01"},
]


@pytest.fixture(scope="module")
def run():
    """Return a function that runs a notebook once, and returns it with its server."""
    ran = {}

    def run_(name):
        if name not in ran:
            with FakeOllama() as fake, pytest.MonkeyPatch.context() as patch:
                fake.models([ABLE])
                fake.chat(answer)
                patch.setenv("OLLAMA_HOST", fake.url)
                patch.delenv("ROWS", raising=False)
                ran[name] = execute(name), fake
        return ran[name]

    return run_


# -- the server, which replies to what a request contains ---------------------------


def answer(body):
    prompt = body.get("prompt") or body["messages"][-1]["content"]
    if calls := requested_calls(body):
        return [reply_line(body, tool_calls=calls), reply_line(body, done=True)]
    if "format" in body:
        text = json.dumps(data(body["format"], prompt))
    elif "fenced block" in prompt:
        text = "```python\nsales.plot.bar('day', 'revenue')\n```"
    else:
        text = f"{body['model']} **answers**."
    end = {"done_reason": "stop", "eval_count": 5, "eval_duration": 10**9}
    return [reply_line(body, content=text), reply_line(body, done=True, **end)]


def data(schema, prompt):
    if schema["type"] == "array":
        return INVOICES
    if "mood" in schema["properties"]:
        return {"mood": "negative" if re.search(BAD, prompt) else "positive"}
    return next(one for one in INVOICES if one["name"] in prompt)


def requested_calls(body):
    if "tools" not in body:
        return []
    messages = body["messages"]
    (asked,) = [m["content"] for m in messages if m["role"] == "user"][-1:]
    told = [m for m in messages if m["role"] == "tool" or m["content"] == asked]
    told = told[[m["content"] for m in told].index(asked) + 1 :]
    if "piano" in asked:
        return [] if told else [call("find_product", name="piano")]
    if "heavier" in asked:
        both = [call("find_product", name=name) for name in ("chair", "desk")]
        return [] if told else both
    steps = [
        [call("find_product", name="lamp")],
        [call("shipping_cost", kg=1.5, country="FR")],
    ]
    return steps[len(told)] if len(told) < len(steps) else []


def call(name, /, **arguments):
    return {"function": {"name": name, "arguments": arguments}}


# -- outputs of the notebooks -------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES[:-1])
def test_every_answer_is_one_output(run, name):
    notebook, _ = run(name)
    asking = [cell for cell in notebook.cells if cell.source.startswith("%%ollama")]
    assert asking
    for cell in asking:
        (output,) = cell.outputs
        assert set(output["data"]) == {"text/html", "text/plain"}


def test_a_table_is_sent_once_and_the_chat_continues(run):
    notebook, fake = run("chat_about_a_dataframe")
    first, *_, last = fake.bodies("/api/chat")
    assert "DataFrame of 7 rows" in first["messages"][-1]["content"]
    assert "day,weather,coffees,cakes,revenue" in first["messages"][-1]["content"]
    assert len(last["messages"]) == 1  # --last 0
    before = fake.bodies("/api/chat")[-2]["messages"]
    assert [m["role"] for m in before] == [*["user", "assistant"] * 2, "user"]
    assert "sales.plot.bar" in notebook.text("for block in answer.code")
    html = notebook.output("%%ollama answer")["data"]["text/html"]
    assert "no cell can be inserted here" in html
    history = notebook.text("%ollama history").splitlines()
    assert [row.split()[0] for row in history] == ["Turn", "1", "2", "3", "4"]


def test_text_becomes_rows(run):
    notebook, fake = run("extract_a_table_from_text")
    assert "'amount': 84.5" in notebook.text("invoice.data")
    assert "2026-12-01" in notebook.text("invoices.to_frame")
    assert notebook.text("for letter in letters").count("Invoice(name=") == 3
    table = notebook.text('mail[["sender"]].join')
    assert re.search(r"home\s+J. Miller\s+120", table)
    formats = [b["format"]["properties"] for b in fake.bodies("/api/generate")[:-1]]
    assert formats[-1]["due"] == {"type": "string", "format": "date"}


def test_the_figure_is_sent_as_it_was_drawn(run):
    notebook, fake = run("describe_a_plot")
    assert f"{MODEL} has vision" in notebook.text("installed = %ollama list")
    first, second = fake.bodies("/api/chat")
    (from_python,) = fake.bodies("/api/generate")
    sent = [body["messages"][-1]["images"] for body in (first, second)]
    for (image,) in [*sent, from_python["images"]]:
        png = base64.b64decode(image)
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", png[16:24])
        assert width > height > 200
    assert first["messages"][-1]["content"] == "Describe this chart in two sentences."
    asked = second["messages"][-1]["content"]
    assert "[image 1]" in asked
    assert asked.endswith("visitors?")
    shown = notebook.output("-a fig -t 0")
    assert shown["metadata"]["ollama_magic"]["turn"] == 1
    assert f"{MODEL} **answers**" in notebook.text("images=[fig]")


def test_functions_are_called_and_the_model_gets_their_results(run):
    notebook, fake = run("let_a_model_call_your_function")
    bodies = fake.bodies("/api/chat")
    told = [m["content"] for m in bodies[2]["messages"] if m["role"] == "tool"]
    assert json.loads(told[0])["price"] == 29.9
    assert told[1] == "7.75"
    calls = notebook.text("for call in reply.tool_calls")
    assert calls.split("\n")[:2] == [
        "find_product {'name': 'lamp'}",
        "shipping_cost {'kg': 1.5, 'country': 'FR'}",
    ]
    html = notebook.output("%%ollama reply")["data"]["text/html"]
    assert html.count("<details") == 3  # both are in one fold
    messages = notebook.text("in reply.messages").strip().splitlines()
    assert [line.split()[0] for line in messages] == [
        "user",
        *["assistant", "tool"] * 2,
        "assistant",
    ]


def test_the_error_of_a_function_is_sent_to_the_model(run):
    notebook, fake = run("let_a_model_call_your_function")
    error = "ValueError: there is no 'piano', only lamp, chair, desk"
    assert notebook.text("in failed.messages").strip() == error
    told = [b["messages"][-1]["content"] for b in fake.bodies("/api/chat")]
    assert error in told


def test_models_are_compared_and_one_reply_is_kept(run):
    notebook, fake = run("compare_models")
    (created,) = fake.bodies("/api/create")
    assert (created["model"], created["from"]) == ("smollm2-terse", "smollm2:135m")
    # the second model was removed again
    assert fake.model_names == [MODEL, "smollm2:135m"]
    assert "smollm2-terse **answers**." in notebook.text("%%ollama both")
    frame = notebook.text("both.to_frame")
    assert all(name in frame for name in ("smollm2:135m", "smollm2-terse", "tokens/s"))
    kept = notebook.output("%ollama keep")
    assert kept["metadata"]["ollama_magic"]["turn"] == 1
    assert fake.bodies("/api/chat")[-1]["model"] == "smollm2-terse"
    history = notebook.text("%ollama history").splitlines()
    assert [row.split()[0] for row in history] == ["Turn", "1", "2"]


def test_a_thousand_rows_are_sent_once(run):
    notebook, fake = run("label_a_thousand_rows")
    asked = fake.bodies("/api/generate")
    assert len(asked) == 917  # 83 mails are empty
    assert len({body["prompt"] for body in asked}) == 917
    assert notebook.text("labels = label").startswith(f"{MODEL} 1,000 of 1,000")
    assert "83 of 1000 failed" in notebook.text("failed = ")
    assert "The prompt of this row is empty." in notebook.text("failed = ")
    assert "100% right" in notebook.text("good = ")
    line, warning, is_equal = notebook.outputs("again = label")
    assert "917 cached" in line["data"]["text/plain"]
    assert "83 of 1,000 rows failed" in warning["text"]
    assert is_equal["data"]["text/plain"] == "True"


@pytest.mark.parametrize("name", ["describe_a_plot", "let_a_model_call_your_function"])
def test_without_a_suitable_model_a_notebook_says_so_and_sends_nothing(
    fake_ollama, monkeypatch, name
):
    monkeypatch.setenv("OLLAMA_HOST", fake_ollama.url)
    notebook = execute(name)
    assert "%ollama pull" in notebook.text("installed = %ollama list")
    assert "nothing is sent below" in notebook.text("installed = %ollama list")
    asking = [cell for cell in notebook.cells if cell.metadata.get("tags")]
    assert [c.outputs[0]["ename"] for c in asking] == ["CapabilityError"] * 2
    assert not fake_ollama.bodies("/api/chat") + fake_ollama.bodies("/api/generate")
