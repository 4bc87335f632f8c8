"""Math on a page without MathJax, such as VS Code's, and in an untrusted notebook."""

import nbformat
import pytest
from playwright.sync_api import expect

from ollama_magic.render.reply import ReplyView, reply_bundle

SOURCE = "Since $a_1$:\n\n$$\nx = 1\n\\\\ y = 2\n$$"
LOOKS = """() => [...document.querySelectorAll('span')].map(e => {
    const style = getComputedStyle(e);
    return [e.innerText, style.fontFamily, style.whiteSpaceCollapse];
})"""
IS_TRUSTED = """() => jupyterapp.shell.currentWidget.content.widgets.every(
    cell => cell.model.trusted)"""
TYPESET = """() => document.querySelectorAll('span').forEach(
    e => e.replaceChildren(document.createElement('mjx-container')))"""


@pytest.fixture
def page(browser):
    page = browser.new_page()
    yield page
    page.close()


def test_source_is_in_the_font_of_code_until_it_is_typeset(page):
    page.set_content(reply_bundle(ReplyView(SOURCE))["text/html"])
    assert page.evaluate(LOOKS) == [
        ["$a_1$", "monospace", "preserve"],
        ["$$\nx = 1\n\\\\ y = 2\n$$", "monospace", "preserve"],
    ]
    page.evaluate(TYPESET)
    assert {tuple(look[1:]) for look in page.evaluate(LOOKS)} == {
        (page.evaluate("getComputedStyle(document.body).fontFamily"), "collapse")
    }


def test_math_of_an_untrusted_notebook_is_typeset_once(open_notebook, jupyter):
    """JupyterLab's sanitiser keeps TeX source; of MathML it would keep letters only."""
    file = jupyter.root / jupyter.write_notebook("math.ipynb", ["x"])
    notebook = nbformat.read(file, as_version=4)
    bundle = reply_bundle(ReplyView(SOURCE))
    notebook.cells[0].outputs = [nbformat.v4.new_output("display_data", data=bundle)]
    nbformat.write(notebook, file)
    page = open_notebook("math.ipynb")
    formulas = page.output(0).locator("mjx-container")
    expect(formulas).to_have_count(2)
    assert not page.page.evaluate(IS_TRUSTED)
    assert "$" not in page.output(0).inner_text()
