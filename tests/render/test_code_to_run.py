"""Which code blocks of a reply become a cell."""

import pytest

from ollama_magic.render.code import CodeBlock, code_blocks, code_to_run


def chosen(text):
    return code_to_run(code_blocks(text))


def fence(language, *lines):
    return "\n".join([f"```{language}", *lines, "```", ""])


@pytest.mark.parametrize(
    "language",
    ["", "python", "py", "Python3", "ipython", "{.python #id}", "python title=x"],
)
def test_python_is_inserted_unchanged(language):
    code = chosen(fence(language, "for x in y:", "", "    print(x)"))
    assert code.source == "for x in y:\n\n    print(x)"
    assert code.left_out == ()


def test_several_blocks_become_one_cell_in_order():
    code = chosen(fence("py", "a = 1") + "then\n" + fence("", "b()") + fence("py", "c"))
    assert code.source == ("a = 1\n\n# %% block 2 of 3\nb()\n\n# %% block 3 of 3\nc")


@pytest.mark.parametrize("shown", ["4", "[1, 2]", "total: 4 rows", "$ pip install x"])
def test_a_block_without_language_next_to_python_is_its_output(shown):
    code = chosen(fence("python", "print(2 + 2)") + fence("", shown))
    assert code.source == "print(2 + 2)"
    assert code.left_out == ("text",)


def test_a_block_without_language_that_parses_as_statements_is_code():
    code = chosen(fence("python", "a = 1") + fence("", "b = a"))
    assert "b = a" in code.source


def test_prompts_and_output_of_a_console_session_are_removed():
    session = [">>> def f():", "...     return 2", "...", ">>> f()", "2"]
    code = chosen(fence("pycon", *session))
    assert code.source == "def f():\n    return 2\n\nf()"
    ipython = ["In [1]: x = 1", "   ...: x", "Out[1]: 1"]
    assert chosen(fence("python", *ipython)).source == "x = 1\nx"


@pytest.mark.parametrize(
    ("language", "magic"),
    [
        ("bash", "%%bash"),
        ("sh", "%%bash"),
        ("shell", "%%bash"),
        ("HTML", "%%html"),
        ("js", "%%javascript"),
        ("perl", "%%perl"),
        ("ruby", "%%ruby"),
    ],
)
def test_without_python_the_first_block_gets_its_cell_magic(language, magic):
    code = chosen(fence(language, "one") + fence(language, "two"))
    assert code.source == f"{magic}\none"
    assert code.left_out == (language.lower(),)


def test_with_python_the_other_languages_are_left_out():
    code = chosen(fence("bash", "ls") + fence("py", "a") + fence("json", "{}"))
    assert code.source == "a"
    assert code.left_out == ("bash", "json")


def test_shell_prompts_are_removed():
    assert chosen(fence("console", "$ ls", "a.txt", "$ cat a.txt")).source == (
        "%%bash\nls\ncat a.txt"
    )
    assert chosen(fence("bash", "echo $ x")).source == "%%bash\necho $ x"


def test_equal_blocks_are_all_inserted():
    code = chosen(fence("bash", "ls") + fence("py", "a") + fence("py", "a"))
    assert code.source == "a\n\n# %% block 2 of 2\na"


@pytest.mark.parametrize("text", ["", "no code", fence("json", "{}"), fence("py", " ")])
def test_without_runnable_code_the_source_is_empty(text):
    assert chosen(text).source == ""


def test_languages_that_were_left_out_are_listed():
    assert chosen(fence("json", "{}") + fence("C++", "x;")).left_out == ("json", "c++")


def test_code_far_to_the_right_is_told():
    block = CodeBlock("python", "y = 1" + " " * 400 + "; import os")
    assert code_to_run([block]).remark == " (its longest line has 416 characters)"
    blocks = [CodeBlock("python", "y = 1"), CodeBlock("json", "{}")]
    assert code_to_run(blocks).remark == " (left out: json)"


def test_a_name_in_the_cell_has_no_variation_selector():
    block = CodeBlock("python", "é\ufe00 = 1")
    assert code_to_run([block]).source == "é = 1"
