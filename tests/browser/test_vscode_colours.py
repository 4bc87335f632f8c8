"""Outputs on a page that imitates VS Code: two sets of variables, one of them wrong.

Its Jupyter extension sets JupyterLab's variables on every page, always with the values
of the light theme (seen in VS Code 1.139 with Jupyter 2026.6).
"""

import pytest

from ollama_magic.client.logprobs import Logprobs, TokenLogprob
from ollama_magic.render.columns import Column, columns_bundle
from ollama_magic.render.logprobs import AnswerRow, AnswerView, decision_bundle
from ollama_magic.render.panel_html import (
    TableRow,
    line_html,
    model_table_html,
    notice_html,
    panel_style_html,
    text_box_html,
)
from ollama_magic.render.reply import ReplyView, reply_bundle, steps_html
from ollama_magic.render.theme import PANEL_CLASS, with_style

LIGHT_OF_LAB = {
    "--jp-ui-font-color0": "rgba(0,0,0,1)",
    "--jp-ui-font-color1": "rgba(0,0,0,.87)",
    "--jp-ui-font-color2": "rgba(0,0,0,.54)",
    "--jp-content-font-color1": "black",
    "--jp-layout-color1": "white",
    "--jp-layout-color2": "#eeeeee",
    "--jp-layout-color3": "#bdbdbd",
    "--jp-cell-editor-background": "#f7f7f7",
    "--jp-border-color1": "#bdbdbd",
}
THEMES = {
    "vscode-dark": {
        "--vscode-foreground": "#cccccc",
        "--vscode-descriptionForeground": "#9d9d9d",
        "--vscode-editor-background": "#1f1f1f",
        "--vscode-editor-foreground": "#cccccc",
        "--vscode-textCodeBlock-background": "#2b2b2b",
        "--vscode-debugTokenExpression-boolean": "#4e94ce",
        "--vscode-debugTokenExpression-string": "#ce9178",
        "--vscode-debugTokenExpression-number": "#b5cea8",
    },
    "vscode-light": {
        "--vscode-foreground": "#3b3b3b",
        "--vscode-descriptionForeground": "#3b3b3b",
        "--vscode-editor-background": "#ffffff",
        "--vscode-editor-foreground": "#3b3b3b",
        "--vscode-textCodeBlock-background": "#f8f8f8",
        "--vscode-debugTokenExpression-boolean": "#0000ff",
        "--vscode-debugTokenExpression-string": "#a31515",
        "--vscode-debugTokenExpression-number": "#098658",
    },
}
CODE = "```python\nfor n in range(3):  # count\n    print('a', 1, n)\n```"
CALL = {"name": "get_weather", "arguments": {"city": "Oslo", "days": 3, "now": True}}
WAITING = ({"role": "assistant", "content": "", "tool_calls": [{"function": CALL}]},)
ANSWERED = (*WAITING, {"role": "tool", "content": "rain", "tool_name": "get_weather"})
PANEL = line_html("line") + line_html("quiet", is_secondary=True) + notice_html(["x"])
ROW = TableRow(
    *("a:1b", ("default",), True, "2 GB", 0.5, "3 GB, GPU", 1.0),
    *(("tools",), "3.2B · Q4_K_M", "today"),
)
UNSURE = Logprobs(TokenLogprob(f"word{n} ", -n / 2) for n in range(5))
BARS = AnswerView("choice: a", [AnswerRow("a", "why", 0.9, is_chosen=True)], "note")
PAGES = {
    "answer": reply_bundle(ReplyView(f"text\n\n{CODE}"))["text/html"],
    "code alone": reply_bundle(ReplyView("x = 1  # one", view="code"))["text/html"],
    "list": reply_bundle(ReplyView(f"- item\n\n{CODE}"))["text/html"],
    "json": reply_bundle(ReplyView('{"a": [1, true]}', view="json"))["text/html"],
    "tokens": reply_bundle(ReplyView("x", logprobs=UNSURE))["text/html"],
    "decision": decision_bundle([BARS], ["footer"])["text/html"],
    "columns": columns_bundle([Column("a", ReplyView(CODE))])["text/html"],
    "waiting call": with_style(steps_html(WAITING)),
    "finished call": with_style(steps_html(ANSWERED)),
    "panel": f"{panel_style_html()}<div class={PANEL_CLASS}>{PANEL}"
    f"{model_table_html([ROW])}{text_box_html('text')}</div>",
}
CONTRASTS = """() => {
    const parse = text => {
        const parts = text.match(/[\\d.]+/g).map(Number);
        const most = text.startsWith('color(') ? 255 : 1;  // a mixed one is 0 to 1
        const [r, g, b] = parts.map(one => one * most);
        return [r, g, b, parts.length > 3 ? parts[3] : 1];
    };
    const over = (top, alpha, below) =>
        [0, 1, 2].map(i => top[i] * alpha + below[i] * (1 - alpha));
    const light = colour => {
        const [r, g, b] = colour.map(one => {
            const c = one / 255;
            return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const page = parse(getComputedStyle(document.body).backgroundColor);
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const holder = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || holder.tagName === 'STYLE') continue;
        const chain = [];
        for (let e = holder; e; e = e.parentElement) chain.unshift(e);
        const paint = hasText => {
            // An element paints its background and content, then fades as a group.
            const group = (i, below) => {
                const style = getComputedStyle(chain[i]);
                const back = parse(style.backgroundColor);
                let inside = over(back, back[3], below);
                if (i + 1 < chain.length) inside = group(i + 1, inside);
                else if (hasText) {
                    const text = parse(style.color);
                    inside = over(text, text[3], inside);
                }
                return over(inside, Number(style.opacity), below);
            };
            return light(group(0, page));
        };
        const [one, two] = [paint(true), paint(false)].sort((a, b) => b - a);
        found.push([walker.currentNode.data.trim(), (one + 0.05) / (two + 0.05)]);
    }
    return found;
}"""


def imitation(theme, body):
    """Return a page like the webview of a notebook in VS Code."""
    variables = {**LIGHT_OF_LAB, **THEMES[theme]}
    root = ";".join(f"{name}:{value}" for name, value in variables.items())
    return (
        f"<!doctype html><style>:root{{{root}}}"
        "body{background:var(--vscode-editor-background);"
        "color:var(--vscode-foreground)}</style>"
        f'<body data-vscode-theme-kind="{theme}">{body}</body>'
    )


@pytest.fixture
def page(browser):
    page = browser.new_page()
    yield page
    page.close()


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("shown", PAGES)
def test_every_text_is_readable(page, theme, shown):
    page.set_content(imitation(theme, PAGES[shown]))
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    contrasts = page.evaluate(CONTRASTS)
    assert contrasts
    assert [found for found in contrasts if found[1] < 4.5] == []


@pytest.mark.parametrize("theme", THEMES)
def test_code_has_the_colours_of_the_theme(page, theme):
    page.set_content(imitation(theme, PAGES["answer"]))
    colours = page.evaluate(
        "[...document.querySelectorAll('.highlight span')]"
        ".filter(e => ['k', 's', 'm'].includes(e.className))"
        ".map(e => getComputedStyle(e).color)"
    )
    assert len(set(colours)) == 3


def test_the_style_changes_nothing_on_other_pages(page):
    body = imitation("vscode-light", PAGES["answer"]).replace(
        ' data-vscode-theme-kind="vscode-light"', ""
    )
    page.set_content(body)
    colours = page.evaluate(
        "[...document.querySelectorAll('.highlight, .highlight span')]"
        ".map(e => getComputedStyle(e).color)"
    )
    assert len(set(colours)) == 1
