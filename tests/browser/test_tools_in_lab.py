"""The question before a tool call, in a real browser."""

from functools import partial

import pytest
from fake_ollama import Answer, reply_line
from playwright.sync_api import expect

MODEL = "llama3.2:3b"
line = partial(reply_line, {"model": MODEL, "messages": []})

SETUP = """\
%load_ext ollama_magic
%config OllamaMagics.host = {url!r}

def find_product(name: str) -> dict:
    "Look up the price and stock of a product."
    return {{"price": 29.9, "in_stock": 4}}"""

ASK = """\
%%ollama -T find_product
What does a lamp cost?"""


@pytest.fixture
def notebook(open_notebook, jupyter, fake_ollama, app, request):
    """Open a notebook with a function, and a model that wants to call it."""
    fake_ollama.models([{"name": MODEL, "capabilities": ["completion", "tools"]}])
    call = {"function": {"name": "find_product", "arguments": {"name": "lamp"}}}
    fake_ollama.on(
        "POST /api/chat",
        Answer([line(tool_calls=[call]), line(done=True)]),
        Answer([line(content="A lamp costs **29.90** euros."), line(done=True)]),
    )
    name = f"{request.node.name}.ipynb".replace("[", "-").replace("]", "")
    setup = SETUP.format(url=fake_ollama.url)
    page = open_notebook(jupyter.write_notebook(name, [setup, ASK]), app)
    page.run_to_end(0)
    return page


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_the_call_is_shown_open_before_it_is_allowed_and_folded_after(
    notebook, fake_ollama
):
    notebook.run(1)
    box = notebook.cell(1).locator(".jp-Stdin-input")
    box.wait_for()
    wanted = notebook.output(1).locator("details", has_text="wants to call")
    expect(wanted).to_have_attribute("open", "")
    expect(wanted.get_by_text('"name": "lamp"')).to_be_visible()
    asked = notebook.cell(1).get_by_text('Call find_product(name="lamp")? [y]es')
    expect(asked).to_be_visible()
    assert wanted.bounding_box()["y"] < box.bounding_box()["y"]
    assert len(fake_ollama.bodies("/api/chat")) == 1
    notebook.screenshot(f"tool-asked-{notebook.app}")
    box.fill("y")
    box.press("Enter")
    notebook.wait_text(1, "A lamp costs 29.90 euros.")
    notebook.wait_text(1, f"{MODEL} · ")
    folded = notebook.output(1).locator("details", has_text="called find_product")
    expect(folded).to_have_count(1)
    expect(folded).not_to_have_attribute("open", "")
    expect(notebook.cell(1).get_by_text("wants to call")).to_have_count(0)
    notebook.screenshot(f"tool-called-{notebook.app}")
    folded.locator("summary").click()
    expect(folded.get_by_text("in_stock")).to_be_visible()
    (told,) = [
        message["content"]
        for message in fake_ollama.bodies("/api/chat")[1]["messages"]
        if message["role"] == "tool"
    ]
    assert '"price": 29.9' in told
