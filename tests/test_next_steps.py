"""Every subcommand and option that the package suggests exists."""

import ast
import re
from pathlib import Path

from ollama_magic.generation.options import CHAT_OPTIONS
from ollama_magic.notebook.commands import COMMANDS, find_command, parse_command

PACKAGE = Path(__file__).parents[1] / "ollama_magic"
ELSEWHERE = {"embedded"}
"""Separate programs, with their own command lines."""
SUBCOMMAND = re.compile(r"(?<!%)%ollama (?!has no )([a-z]+)")
FLAG = re.compile(r"(?<![\w(-])--(?!jp-|vscode-)[a-z][a-z-]+(?![\w:-])")
"""An option; ``--name:`` declares a property of CSS."""


def texts():
    """Yield every string literal except docstrings, with its file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if set(path.relative_to(PACKAGE).parts) & ELSEWHERE:
            continue
        nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
        docstrings = [node.value for node in nodes if isinstance(node, ast.Expr)]
        for node in nodes:
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and node not in docstrings:
                yield path.name, node.value


def test_every_suggested_subcommand_exists():
    named = {
        (file, word) for file, text in texts() for word in SUBCOMMAND.findall(text)
    }
    assert len(named) > 20
    for file, word in named:
        command = find_command(word)
        assert command is not None, f"{file} names %ollama {word}"
        words = " x" * command.least
        assert parse_command(word + words).name == command.name


def test_every_suggested_option_exists():
    options = [*CHAT_OPTIONS, *(option for each in COMMANDS for option in each.options)]
    known = {flag for option in options for flag in option.flags} | {"--help"}
    named = {(file, flag) for file, text in texts() for flag in FLAG.findall(text)}
    assert {flag for _, flag in named} > {"--raw", "--embedded", "--keep-alive"}
    assert [(file, flag) for file, flag in named if flag not in known] == []
