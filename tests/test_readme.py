"""What the README claims is what the tables in the code say."""

import re
from pathlib import Path

import pytest

from ollama_magic.line.command_table import COMMANDS
from ollama_magic.line.option_table import CHAT_OPTIONS
from ollama_magic.magics import OllamaMagics

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def row(left, right):
    escaped = (text.replace("|", r"\|") for text in (left, right))
    return "| `{}` | {} |".format(*escaped)


@pytest.mark.parametrize("option", CHAT_OPTIONS, ids=lambda o: o.flags[-1])
def test_every_option_has_its_row(option):
    assert row(option.label, option.help) in README.splitlines()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.name)
def test_every_subcommand_has_its_row(command):
    assert row(command.usage, command.summary) in README.splitlines()


def test_no_row_is_left_of_an_option_that_is_gone():
    rows = re.findall(r"^\| `[-%]", README, re.MULTILINE)
    assert len(rows) == len(CHAT_OPTIONS) + len(COMMANDS)


def test_every_setting_is_named():
    named = set(re.findall(r"`(\w+)`", README.partition("## Settings")[2]))
    assert set(OllamaMagics.class_own_traits(config=True)) <= named


@pytest.mark.parametrize("name", ["run", "headless", "tests"])
def test_each_command_is_one_line(name):
    block = README.partition(f"<!-- {name} -->\n")[2].partition("\n\n")[0]
    assert re.fullmatch(r"    \S.*", block)
