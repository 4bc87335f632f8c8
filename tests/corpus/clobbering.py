"""Names, ids, classes and forms that override parts of the surrounding page."""

_NAMES = [
    "jupyterapp", "jp-main-dock-panel", "main", "body", "head", "forms", "cookie",
    "location", "documentElement", "getElementById", "querySelector", "currentScript",
    "defaultView", "jupyter-config-data", "MathJax", "require", "define", "__proto__",
]  # fmt: skip
_CLASSES = [
    "jp-Dialog", "jp-Button", "lm-Widget jp-mod-warn", "jp-RenderedMarkdown", "jp-Cell",
    "jupyter-widgets", "fa fa-lock", "highlight evil", "k evil", "ollama-hidden",
    "tex2jax_process", "mathjax_process", "tex2jax_process mathjax_process",
]  # fmt: skip

VECTORS = [f"<a id={n} name={n} href=http://a.example/>x</a>" for n in _NAMES]
VECTORS += [f'<div class="{names}">$\\href{{javascript:@RUN@}}{{x}}$</div>'
            for names in _CLASSES]  # fmt: skip
VECTORS += [
    "<form id=jp-main><input name=attributes><input name=children></form>",
    "<form name=cookie action=@SINK@><input name=q value=secret><button>go</form>",
    "<form id=x></form><button form=x formaction=@SINK@>go</button>",
    "<input type=password name=p placeholder='Your token'>",
    "<textarea name=t>your password</textarea>",
    "<select name=s><option selected>x</select>",
    "<label for=jp-save>click</label>",
    "<fieldset id=x><legend>y</legend></fieldset>",
    "<output name=x for=y>z</output>",
    "<iframe name=_top></iframe>",
    "<object id=x name=y></object>",
    "<a target=_top href=http://a.example/>x</a>",
    "<a target=_blank rel=opener href=http://a.example/>x</a>",
    "<a download=x.exe href=http://a.example/>x</a>",
    "<div data-x=1 data-mime-type=text/html>x</div>",
    "<div role=alert aria-live=assertive>Your session has ended</div>",
    "<div contenteditable accesskey=s tabindex=1 draggable=true hidden>x</div>",
    "<p slot=x part=y is=z itemprop=a>x</p>",
    "<dialog open>Session has ended. <a href=http://a.example/>Log in</a></dialog>",
    "<div popover=auto id=x>over</div>",
    "<details name=x open><summary>y</summary>z</details>",
    "# x {#jp-main .jp-Dialog onclick=@RUN@}",
    "# x\n{: #jp-main onclick=@RUN@ }",
    "text {: .jp-Dialog style=position:fixed }",
    "text\n{: style=position:fixed;inset:0 }",
    "- x {: onclick=@RUN@ }",
    "| a |\n|---|\n| b {: onclick=@RUN@ } |",
    ":::{admonition} <img src=x onerror=@RUN@>\nx\n:::",
    '!!! danger "<img src=x onerror=@RUN@>"\n    x',
    '??? note "<script>@RUN@</script>"\n    x',
    "/// html | div[onclick=@RUN@]\nx\n///",
    '=== "<img src=x onerror=@RUN@>"\n    x',
    '--8<-- "/etc/passwd"',
    "{!/etc/passwd!}",
    ":smile: :<img src=x onerror=@RUN@>:",
    "==mark <img src=x onerror=@RUN@>==",
    "++ctrl+<img src=x onerror=@RUN@>++",
    "^^ins <script>@RUN@</script>^^",
    "{==x==}{>><img src=x onerror=@RUN@><<}",
]
