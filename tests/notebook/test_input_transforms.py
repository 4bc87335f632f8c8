"""What the user typed reaches the magics, through a real shell."""

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import no_var_expand
from traitlets.config import Config

from ollama_magic.notebook import input_transforms
from ollama_magic.notebook.commands import prompts_in
from ollama_magic.notebook.running_cell import magic_body, owns_output


@pytest.fixture(scope="module")
def one_shell():
    """Share one shell in this file: each one costs a quarter of a second at exit."""
    return InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))


@pytest.fixture
def shell(one_shell):
    """Return a shell whose magic records its arguments."""
    one_shell.calls = []

    @no_var_expand
    def ollama(line, cell=None):
        one_shell.calls.append((line, cell))
        return "the reply"

    one_shell.register_magic_function(ollama, "line_cell")
    input_transforms.install(one_shell)
    yield one_shell
    input_transforms.uninstall(one_shell)


TO_THE_MAGIC = {
    "question": ("%ollama ask what is this?", "ask what is this?"),
    "two question marks": ("%ollama ask what??", "ask what??"),
    "blank before it": ("%ollama ask what ?", "ask what ?"),
    "subcommand": ("%ollama pull?", "pull?"),
    "apostrophe": ("%ollama ask what's this?", "ask what's this?"),
    "open bracket": ("%ollama ask what is f(x?", "ask what is f(x?"),
    "open triple quote": ('%ollama ask what does """ do?', 'ask what does """ do?'),
    "braces and dollars": ("%ollama ask {x} $y?", "ask {x} $y?"),
    "hash": ("%ollama ask what is #1?", "ask what is #1?"),
    "not ASCII": ("%ollama ask was heißt 日本?", "ask was heißt 日本?"),
    "number": ("%ollama ask 2 + 2.?", "ask 2 + 2.?"),
    "no question": ("%ollama list", "list"),
    "alone": ("%ollama", ""),
    "help in a line of its own": ("%ollama ?", "?"),
}


@pytest.mark.parametrize(("cell", "line"), TO_THE_MAGIC.values(), ids=TO_THE_MAGIC)
def test_line_reaches_the_magic_as_typed(shell, cell, line):
    shell.run_cell(cell).raise_error()
    assert shell.calls == [(line, None)]


@pytest.mark.parametrize("target", ["x = ", "x= ", "x, y = ", "x = \\\n"])
def test_assigned_line_reaches_the_magic_as_typed(shell, target):
    transformed = shell.transform_cell(f"{target}%ollama ask what is this?")
    assert transformed == (
        f"{target}get_ipython().run_line_magic('ollama', 'ask what is this?')\n"
    )


def test_assigned_line_returns_what_the_magic_returns(shell):
    shell.run_cell("x = %ollama ask why?").raise_error()
    assert shell.user_ns["x"] == "the reply"


def test_lines_in_blocks_and_in_a_row_are_all_transformed(shell):
    shell.run_cell(
        "for i in range(2):\n"
        "    %ollama ask one?\n"
        "    y = %ollama ask two?\n"
        "%ollama ask three?\n"
        "z = 1"
    ).raise_error()
    both = [("ask one?", None), ("ask two?", None)]
    assert shell.calls == [*both, *both, ("ask three?", None)]
    assert shell.user_ns["z"] == 1


HELP = {
    "line magic": ("%ollama?", "pinfo", "%ollama"),
    "line magic, more": ("%ollama??", "pinfo2", "%ollama"),
    "cell magic": ("%%ollama?", "pinfo", "%%ollama"),
    "before": ("?%ollama", "pinfo", "%ollama"),
    "another object": ("len?", "pinfo", "len"),
    "another magic": ("%timeit?", "pinfo", "%timeit"),
    "a longer name": ("%ollamas ask b?", "pinfo", "b"),
}


@pytest.mark.parametrize(("cell", "magic", "name"), HELP.values(), ids=HELP)
def test_help_requests_are_left_to_ipython(shell, cell, magic, name):
    expected = f"get_ipython().run_line_magic({magic!r}, {name!r})\n"
    assert shell.transform_cell(cell) == expected


@pytest.mark.parametrize(
    "cell",
    [
        "s = '''\n%ollama ask a?\n'''\n",
        "# %ollama ask a?\n",
        "y = 5 %ollama\n",
        "y = (5\n%ollama)\n",
        "'%%ollama'\n",
        "s = '''\n%%ollama\n'''\n",
    ],
    ids=["text", "comment", "modulo", "modulo over lines", "cell magic", "cell"],
)
def test_python_is_left_alone(shell, cell):
    assert shell.transform_cell(cell) == cell


@pytest.mark.parametrize("cell", ["%%ollama", "%%ollama\n", "\n%%ollama"])
def test_cell_magic_without_a_body_reaches_the_magic(shell, cell):
    """Otherwise IPython would raise its own error before it calls the magic."""
    shell.run_cell(cell).raise_error()
    assert shell.calls == [("", "\n")]


def test_options_without_a_body_reach_the_magic(shell):
    shell.run_cell("%%ollama llama3.2 -q").raise_error()
    assert shell.calls == [("llama3.2 -q", "\n")]


@pytest.mark.parametrize(
    "start", ["# a comment\n", "#1\n\n  # 2\n", "\n# a\n", "# %%ollama\n"]
)
def test_cell_magic_below_comments_reaches_the_magic(shell, start):
    shell.run_cell(f"{start}%%ollama -q\nwhy?\n# b").raise_error()
    assert shell.calls == [("-q", "why?\n# b\n")]
    assert owns_output(f"{start}%%ollama -q\nwhy?")
    assert magic_body(f"{start}%%ollama -q\nwhy?", "-q", "why?") == "why?"
    (prompt,) = prompts_in(f"{start}%%ollama -q\nwhy?")
    assert prompt.text == "why?"


@pytest.mark.parametrize("blank", ["\t", "\N{NO-BREAK SPACE}"])
def test_any_blank_may_follow_the_cell_magic(shell, blank):
    shell.run_cell(f"%%ollama{blank}llama3.2\nwhy?").raise_error()
    assert shell.calls == [("llama3.2", "why?\n")]


@pytest.mark.parametrize("body", ["\n", "\n\n", "why?\n", "  %ollama ask a?\n"])
def test_body_is_left_alone(shell, body):
    shell.run_cell(f"%%ollama\n{body}").raise_error()
    assert shell.calls == [("", body)]


@pytest.mark.parametrize("prompt", ["Why is it?", "What's this", "a\n\n\n(b", ""])
def test_a_cell_magic_below_python_runs_nothing_and_reaches_the_magic(shell, prompt):
    """Its prompt would be a syntax error, which says nothing about the magic."""
    shell.user_ns.pop("above", None)
    shell.run_cell(f"above = 1\n%%ollama -q\n{prompt}").raise_error()
    assert shell.calls == [("%%ollama", None)]
    assert "above" not in shell.user_ns


def test_other_cell_magics_are_left_alone(shell):
    expected = "get_ipython().run_cell_magic('ollamas', '', '')\n"
    assert shell.transform_cell("%%ollamas") == expected


def test_terminal_waits_for_the_prompt_of_a_cell(shell):
    """Enter after ``%%ollama`` must not run the cell; a blank line ends it."""
    assert shell.check_complete("%%ollama")[0] == "incomplete"
    assert shell.check_complete("%%ollama\nwhy?")[0] == "incomplete"
    assert shell.check_complete("%%ollama\nwhy?\n\n")[0] == "complete"


def test_install_twice_is_install_once_and_uninstall_restores(shell):
    manager = shell.input_transformer_manager
    once = list(manager.token_transformers), list(manager.cleanup_transforms)
    input_transforms.install(shell)
    assert (manager.token_transformers, manager.cleanup_transforms) == once
    input_transforms.uninstall(shell)
    plain = InteractiveShell.input_transformer_manager.klass()
    assert manager.token_transformers == plain.token_transformers
    assert manager.cleanup_transforms == plain.cleanup_transforms
    assert "pinfo" in shell.transform_cell("%ollama ask this?")
