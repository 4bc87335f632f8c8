"""Prompts sent by widgets, in a real JupyterLab and Notebook 7.

Output widgets ignore updates of a display, so the final output is a new display.
"""

import pytest

SETUP = """\
%load_ext ollama_magic
%config OllamaMagics.host = {url!r}
import ipywidgets as W"""

INTERACT = """\
ask = lambda q: get_ipython().run_line_magic("ollama", "ask " + q)
_ = W.interact_manual(ask, q="typed")"""

CAPTURES = """\
out = W.Output()
display(out)
with out:
    %ollama ask inside with
    %ollama version
    %ollama pull llama3.2:3b"""

BUTTON = """\
box = W.Output()
def go(_):
    with box:
        get_ipython().run_cell_magic("ollama", "", "a question")
button = W.Button(description="Go")
button.on_click(go)
display(button, box)"""

MIXED = "x = 1\n%ollama list\n%ollama ask hi\ny = 2"


@pytest.fixture
def page(open_notebook, jupyter, fake_ollama, app):
    setup = SETUP.format(url=fake_ollama.url)
    cells = [setup, INTERACT, CAPTURES, BUTTON, MIXED]
    name = jupyter.write_notebook(f"widgets-{app}.ipynb", cells)
    page = open_notebook(name, app)
    page.run_to_end(0)
    return page


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_requests_of_widgets_are_answered_on_the_page(page):
    for number, button in (1, "Run Interact"), (2, None), (3, "Go"):
        page.run_to_end(number)
        if button:
            page.cell(number).get_by_role("button", name=button).click()
        page.wait_text(number, "Hello!")
        page.wait_text(number, "tokens/s")
        assert page.cell(number).inner_text().count("Hello!") == 1
        assert "http://" not in page.output(number).last.inner_text()
    page.wait_text(2, "llama3.2:3b: pulled")
    assert page.cell(2).inner_text().count("ollama_magic 0") == 1
    page.screenshot(f"widgets-that-ask-{page.app}")
    # Pages and an answer in one cell are one output each.
    page.run_to_end(4)
    page.wait_text(4, "tokens/s")
    assert page.output(4).count() == 2
    assert "NAME" in page.output(4).first.inner_text().upper()
