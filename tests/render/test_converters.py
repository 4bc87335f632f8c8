"""Outputs in the Markdown that ``nbconvert`` writes, read by a Markdown engine.

CommonMark takes an output as HTML from its first tag to a blank line; GitHub, Hugo and
Jekyll read such files. The page must be the one that a notebook shows.
"""

import re

import html5lib
import mistune
import nbformat
import pytest
from nbconvert import LatexExporter, MarkdownExporter, RSTExporter
from surfaces import SURFACES

from ollama_magic.render.columns import Column, columns_bundle
from ollama_magic.render.output import NotebookProgress
from ollama_magic.render.reply import ReplyView, reply_bundle
from ollama_magic.render.tables import Listing, TextPage

LINES = "a\n\n- b\n\n# c\n\n    d"
CODE = (
    "```python\nimport os\n\n\ndef f():\n    '''\n\n    - doc\n    '''\n\n    # x\n```"
)
MATH = "$$\nx = 1\n$$"
IN_A_LIST = (
    "1. a\n\n   ```\n   # x\n\n   - y\n   ```\n\n   > ```\n   > a\n   >\n   > - b"
)
TABLE = f"| a |\n|---|\n| `x` |\n\n{CODE}"
STEPS = (
    {
        "role": "assistant",
        "content": CODE,
        "thinking": LINES,
        "tool_calls": [{"function": {"name": "f", "arguments": {"a": LINES}}}],
    },
    {"role": "tool", "content": LINES, "tool_name": "f", "outcome": "called"},
)


def shown_while_it_runs():
    bundles = []
    line = NotebookProgress(
        lambda data, **_: bundles.append(data), lambda **_: None, mode="update"
    )
    line.finish(LINES)
    return bundles[-1]


BUNDLES = {
    "code": reply_bundle(ReplyView(CODE)),
    "code below text": reply_bundle(ReplyView(f"text\n\n{CODE}", footer=("m",))),
    "code in a list": reply_bundle(ReplyView(IN_A_LIST)),
    "math": reply_bundle(ReplyView(f"{MATH}\n\n{CODE}")),
    "table": reply_bundle(ReplyView(TABLE)),
    "-f text": reply_bundle(ReplyView(LINES, view="text")),
    "-f code": reply_bundle(ReplyView(CODE, view="code")),
    "-f json": reply_bundle(ReplyView('{"a": 1,\n\n"b": "# x"}', view="json")),
    "-f html": reply_bundle(ReplyView(f"<p>a</p>\n\n<pre>{LINES}</pre>", view="html")),
    "thinking": reply_bundle(ReplyView("ok", thinking=LINES)),
    "tool calls": reply_bundle(ReplyView("ok", steps=STEPS)),
    "notice": reply_bundle(ReplyView("ok", notice=LINES)),
    "compare": columns_bundle([Column("a", ReplyView(CODE))] * 2, note="note"),
    "page": TextPage(LINES)._repr_mimebundle_()[0],
    "listing": Listing([0], {"A": lambda _: LINES}, "", note=LINES)._repr_mimebundle_(),
    "progress": shown_while_it_runs(),
}


def nodes_of(page):
    """Return the tags and words of a page; in ``<pre>``, the text as it is."""
    found = []

    def take(text, is_pre):
        found.extend([text] if is_pre and text else (text or "").split())

    def walk(node, is_pre):
        is_pre = is_pre or node.tag == "pre"
        found.append(f"<{node.tag}>")
        take(node.text, is_pre)
        for child in node:
            if child.tag != "style":
                walk(child, is_pre)
            take(child.tail, is_pre)
        found.append(f"</{node.tag}>")

    walk(html5lib.parse(page, namespaceHTMLElements=False).find("body"), False)
    return found


@pytest.mark.parametrize("name", BUNDLES)
def test_markdown_of_nbconvert_shows_the_output_as_it_is(name):
    cell = nbformat.v4.new_code_cell("SOURCE")
    bundle = BUNDLES[name]
    cell.outputs = [nbformat.v4.new_output("display_data", data=dict(bundle))]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    written, _ = MarkdownExporter().from_notebook_node(notebook)
    output = written.partition("SOURCE\n```\n")[2]
    to_html = mistune.create_markdown(escape=False)
    assert nodes_of(to_html(output)) == nodes_of(bundle["text/html"])


def test_engine_would_show_blank_lines_in_another_way():
    page = f"<div><pre>{LINES}</pre></div>"
    to_html = mistune.create_markdown(escape=False)
    assert nodes_of(to_html(page)) != nodes_of(page)


@pytest.mark.parametrize("name", BUNDLES)
def test_no_output_begins_with_a_style_sheet(name):
    """As Markdown, it would be HTML up to the end of its line only."""
    assert not BUNDLES[name]["text/html"].startswith("<style")


@pytest.mark.parametrize("name", SURFACES)
def test_nothing_that_is_shown_has_a_blank_line(name):
    for kind, page in SURFACES[name](f"{LINES}\n \n\n```\n\nx\n\n```\n\n"):
        assert kind != "html" or not re.search(r"\n[ \t]*\n", page)


@pytest.mark.parametrize("exporter", [LatexExporter, RSTExporter])
def test_latex_and_rst_of_nbconvert_run_nothing(exporter):
    """Nbconvert escapes LaTeX itself; RST has our HTML, on lines that are indented."""
    hostile = (
        "\\end{Verbatim}\\input{/etc/passwd}\\write18{id}\n\n$\\input{/etc/passwd}$"
        "\n\n.. include:: /etc/passwd\n\n```\n.. include:: /etc/passwd\n\n```\n"
    )
    for view in ("markdown", "text", "code", "json", "html"):
        bundle = reply_bundle(ReplyView(hostile, view=view, thinking=hostile))
        cell = nbformat.v4.new_code_cell("SOURCE")
        cell.outputs = [nbformat.v4.new_output("display_data", data=dict(bundle))]
        notebook = nbformat.v4.new_notebook(cells=[cell])
        written, _ = exporter().from_notebook_node(notebook)
        output = written.partition("SOURCE")[2]
        assert "passwd" in output
        runs = {LatexExporter: r"\\(input|write18)", RSTExporter: r"^\.\. include"}
        assert not re.search(runs[exporter], output, re.M)
