"""What breaks parsers: long runs, deep nesting, truncated and incomplete syntax."""

_BAD = "<img src=x onerror=@RUN@>"
_HALVES = [
    "<", "</", "<!", "<!-", "<!--", "<!-- x", "<?", "<a", "<a ", "<a href", "<a href=",
    "<a href='", "<a href='http://a.example/", "<img src=x onerror=", "<img src=x "
    "onerror='@RUN@", "&", "&#", "&#x", "&#x3c", "&l", "&lt", "[", "[x", "[x]", "[x](",
    "[x](javascript:", "[x](javascript:@RUN@", "[x](<", "![", "![x](", "![x](@SINK@/h",
    "[x][", "[x]:", "[x]: javascript:@RUN@", "`", "``", "```", "```html", "~~~", "$",
    "$$", "\\(", "\\[", "\\begin{x}", "*", "**", "***", "_", "~~", "|", "| a |", "| a "
    "|\n|", "| a |\n|-", ">", "> ", "-", "- ", "1.", "1. ", "#", "# ", "\\", "{", "{{",
    "<think", "<think>", "</think", "<details", "<details>", "<svg", "<math", "<style",
    "<script", "<script>", "<script>@RUN@", "<script>@RUN@</", "<textarea>", "<title>",
]  # fmt: skip
_RUNS = [
    "<b>", "<a href=x>", "</b>", "<svg>", "<table>", "&lt;", "&#60;", "[", "](", "![",
    "**", "`", "> ", "- ", "|", "$", "\\(", "<!--", "{{", "\u0301", "\u200d", "😀",
]  # fmt: skip

VECTORS = [half + _BAD for half in _HALVES]
VECTORS += [run * 200 + _BAD for run in _RUNS]
VECTORS += [
    "x" * 20_000 + _BAD,
    "<" * 2000 + "script>@RUN@</script>",
    "<img src=x " + "a=b " * 1000 + "onerror=@RUN@>",
    f"<{'x' * 5000} onclick=@RUN@>x",
    "<a href='" + "a" * 20_000 + "' onclick=@RUN@>x</a>",
    "[x](http://a.example/" + "a" * 20_000 + ")",
    "![" + "x" * 5000 + "](@SINK@/r)",
    "".join(f"{'  ' * n}- {_BAD}\n" for n in range(30)),
    "".join(f"{'> ' * n}{_BAD}\n" for n in range(30)),
    "| " * 300 + _BAD + "\n" + "|---" * 300,
]
