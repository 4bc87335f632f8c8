"""Every colour uses VS Code's variable before JupyterLab's."""

import re
from pathlib import Path

import pytest
from surfaces import SURFACES

import ollama_magic
from ollama_magic.render import code, columns, panel_html, theme
from ollama_magic.render.columns import Column, columns_bundle
from ollama_magic.render.output import LiveOutput
from ollama_magic.render.reply import ReplyView, reply_bundle

PACKAGE = Path(ollama_magic.__file__).parent
_ASKED_FIRST = re.compile(r"var\(--vscode-[\w-]+,var\(--jp-[\w-]+")
_DEFINED = re.compile(r"--jp-[\w-]+:")
CODE = "```python\nfor n in range(3):  # count\n    print('a', 1)\n```"


def undecided(text):
    """Return the JupyterLab variables without a VS Code variable before them."""
    rest = _DEFINED.sub("", _ASKED_FIRST.sub("", text))
    return re.findall(r"--jp-[\w-]*", rest)


def test_check_finds_variables_without_a_vscode_one():
    assert undecided("color:var(--jp-a,red)") == ["--jp-a"]
    assert undecided("color:var(--jp-a,var(--vscode-b))") == ["--jp-a"]
    assert (
        undecided("color:var(--vscode-b,var(--jp-a,red));--jp-c:var(--vscode-d)") == []
    )


def test_only_theme_names_variables_of_jupyterlab():
    naming = [path for path in PACKAGE.rglob("*.py") if "--jp-" in path.read_text()]
    assert [path.name for path in naming] == ["theme.py"]


@pytest.mark.parametrize("module", [theme, code, columns, panel_html])
def test_styles_use_vscode_variables_first(module):
    texts = [value for value in vars(module).values() if isinstance(value, str)]
    texts.append(panel_html.panel_style_html())
    assert [undecided(text) for text in texts if undecided(text)] in (
        [],
        [["--jp-"]],  # the docstring of theme
    )


@pytest.mark.parametrize("name", SURFACES)
def test_outputs_use_vscode_variables_first(name):
    shown = SURFACES[name](f"text\n\n{CODE}\n\n| a |\n|---|\n| b |")
    assert undecided(str(shown)) == []


def test_only_outputs_with_code_have_the_style_sheet_once():
    step = {"function": {"name": "f", "arguments": {"a": 1}}}
    steps = ({"role": "assistant", "content": "", "tool_calls": [step]},)
    for view in (ReplyView(CODE, steps=steps), ReplyView("{}", view="json")):
        assert reply_bundle(view)["text/html"].count("<style>") == 1
    assert "<style>" not in reply_bundle(ReplyView("`code`"))["text/html"]
    two = [Column("a", ReplyView(CODE)), Column("b", ReplyView(CODE))]
    assert columns_bundle(two)["text/html"].count("<style>") == 1


def test_streaming_code_has_the_style_sheet():
    shown = []
    live = LiveOutput(lambda **message: shown.append(message["data"]["text/html"]))
    live.show(reply_bundle(ReplyView(CODE))["text/html"])
    live.show("<p>text</p>")
    live.show(code.code_html("x = 1", "python"))
    assert [page.count("<style>") for page in shown] == [1, 0, 1]


def test_code_blocks_set_a_monospaced_font():
    """The page of nbconvert sets no font for ``pre``."""
    assert "font-family:var(--vscode-editor-font-family" in code.PRE_STYLE
    assert "var(--jp-code-font-family,monospace))" in code.PRE_STYLE
    assert code.PRE_STYLE in reply_bundle(ReplyView(CODE))["text/html"]
