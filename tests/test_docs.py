"""The pages in ``docs/`` are what the tables of the parser say."""

import importlib.util
import re
from pathlib import Path

import pytest

from ollama_magic.generation.options import CHAT_OPTIONS
from ollama_magic.notebook.cli import manual
from ollama_magic.notebook.cli.arguments import parse_chat_arguments
from ollama_magic.notebook.cli.command_line import parse_command
from ollama_magic.notebook.cli.command_table import COMMANDS
from ollama_magic.notebook.cli.help import help_text

DOCS = Path(__file__).parents[1] / "docs"
FLAGS = [option.flags[-1] for option in CHAT_OPTIONS]
NAMES = [command.name for command in COMMANDS]


@pytest.fixture(scope="module")
def make_pages():
    if not DOCS.is_dir():
        pytest.skip("the pages are no part of an installed package")
    spec = importlib.util.spec_from_file_location("make_pages", DOCS / "make_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["options.md", "commands.md", "settings.md"])
def test_a_page_is_what_would_be_written_now(make_pages, name):
    text = (DOCS / name).read_text("utf-8")
    assert text == make_pages.pages()[name], "run: python docs/make_pages.py"


def test_the_manual_has_every_option_and_subcommand_and_no_other():
    assert list(manual.OPTIONS) == FLAGS
    assert set(manual.COMMANDS) == set(NAMES)


@pytest.mark.parametrize("flag", FLAGS)
def test_the_example_of_an_option_is_understood_and_uses_it(flag):
    (option,) = [o for o in CHAT_OPTIONS if o.flags[-1] == flag]
    lines = manual.OPTIONS[flag].example.split("\n")
    (line,) = [one for one in lines if one.startswith("%%ollama")]
    assert any(word.partition("=")[0] in option.flags for word in line.split())
    parse_chat_arguments(line.removeprefix("%%ollama"))


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_a_subcommand_are_understood(name):
    lines = manual.COMMANDS[name].example.split("\n")
    used = [re.sub(r"^\w+ = ", "", line) for line in lines]
    parsed = [
        parse_command(line.removeprefix("%ollama"))
        for line in used
        if line.startswith("%ollama")
    ]
    assert name in {command.name for command in parsed}


@pytest.mark.parametrize("flag", FLAGS)
def test_help_shows_an_option_by_any_of_its_flags(flag):
    (option,) = [o for o in CHAT_OPTIONS if o.flags[-1] == flag]
    for name in option.flags:
        command = parse_command(f"help {name}")
        assert command.name == "help"
        page = help_text(*command.arguments)
        assert page.startswith(f"%%ollama {option.label}\n")
        assert "Example" in page
