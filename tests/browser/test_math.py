"""Math on pages that have no MathJax, such as VS Code's."""

import pytest

from ollama_magic.render.reply import ReplyView, reply_bundle

SOURCE = "Since $a_1$:\n\n$$\nx = 1\n\\\\ y = 2\n$$"
LOOKS = """() => [...document.querySelectorAll('span')].map(e => {
    const style = getComputedStyle(e);
    return [e.innerText, style.fontFamily, style.whiteSpaceCollapse];
})"""
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
