"""The fences of a Markdown text."""

import pytest

from ollama_magic.render.code import code_blocks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no code", []),
        ("```py\na\n```\n```\nb\n```", [("py", "a\n"), ("", "b\n")]),
        ("~~~ js run\nx\n~~~", [("js", "x\n")]),
        ("````md\n```py\na\n```\n````", [("md", "```py\na\n```\n")]),
        ("- item\n\n  ```py\n  a\n    b\n  ```", [("py", "a\n  b\n")]),
        ("```py\nnever closed\n", [("py", "never closed\n")]),
        ("``` inline ``` is no fence", []),
        ("> ```py\n> a\n> ```", [("py", "a\n")]),
        ("```py\n\n  a\n```", [("py", "\n  a\n")]),
    ],
)
def test_code_blocks_are_in_order_with_language_and_source(text, expected):
    assert [(b.language, b.source) for b in code_blocks(text)] == expected
