"""The manual has a section for each option and subcommand, and the settings a row."""

import re
from pathlib import Path

import pytest

from ollama_magic.generation.options import CHAT_OPTIONS
from ollama_magic.notebook.cli.help import help_text, sections
from ollama_magic.notebook.cli.parser import parse_chat_arguments
from ollama_magic.notebook.commands import COMMANDS, GROUPS, parse_command
from ollama_magic.notebook.commands.server import ENVIRONMENT
from ollama_magic.notebook.magics import OllamaMagics

SETTINGS = Path(__file__).parents[1] / "docs" / "settings.md"
OPTIONS_PAGE, COMMANDS_PAGE = sections("options.md"), sections("commands.md")
CODE = re.compile(r"```ipython\n(.*?)\n```$", re.DOTALL)
flag = pytest.mark.parametrize("option", CHAT_OPTIONS, ids=lambda one: one.flags[-1])
name = pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one.name)


def example(section):
    """Return the lines of the example at the end of a section."""
    assert section.count("```") == 2
    return CODE.search(section)[1].split("\n")


def test_the_manual_has_one_section_for_each_option_and_subcommand():
    assert list(OPTIONS_PAGE) == [option.label for option in CHAT_OPTIONS]
    assert list(COMMANDS_PAGE) == [command.usage for command in COMMANDS]


@flag
def test_the_example_of_an_option_parses_and_uses_it(option):
    lines = example(OPTIONS_PAGE[option.label])
    (line,) = [one for one in lines if one.startswith("%%ollama")]
    assert any(word.partition("=")[0] in option.flags for word in line.split())
    parse_chat_arguments(line.removeprefix("%%ollama"))


@name
def test_the_examples_of_a_subcommand_parse_and_use_it(command):
    lines = [
        re.sub(r"^\w+ = ", "", one) for one in example(COMMANDS_PAGE[command.usage])
    ]
    parsed = [
        parse_command(line.removeprefix("%ollama"))
        for line in lines
        if line.startswith("%ollama")
    ]
    assert command.name in {one.name for one in parsed}


@name
def test_the_section_of_a_subcommand_has_its_aliases_and_options(command):
    section = COMMANDS_PAGE[command.usage]
    options = () if command.asks else command.options
    flags = [f"`{flag}" for option in options for flag in option.flags]
    for word in [*flags, *(f"`{alias}`" for alias in command.aliases)]:
        assert word in section


@flag
def test_help_shows_the_section_of_an_option_for_any_of_its_flags(option):
    for word in option.flags:
        command = parse_command(f"help {word}")
        assert command.name == "help"
        page = help_text(*command.arguments)
        assert page.startswith(f"%%ollama {option.label}\n")
        assert "\nExample\n  " in page


@name
def test_help_shows_the_section_of_a_subcommand_as_plain_text(command):
    for word in (command.name, *command.aliases):
        page = help_text(word)
        assert page.startswith(f"%ollama {command.usage}\n\n")
        assert "`" not in page
        example_lines = page.partition("\nExample\n")[2].split("\n")
        assert any(command.name in line for line in example_lines)


def test_help_fits_into_a_terminal():
    words = [option.flags[-1] for option in CHAT_OPTIONS]
    for word in ["", *words, *(command.name for command in COMMANDS)]:
        assert max(map(len, help_text(word).split("\n"))) <= 80
    assert max(map(len, help_text("pull", 40).split("\n"))) <= 40


@pytest.mark.parametrize("heading", [*OPTIONS_PAGE, *COMMANDS_PAGE])
def test_a_section_begins_with_a_sentence_that_sums_it_up(heading):
    """The overview shows it."""
    section = (OPTIONS_PAGE | COMMANDS_PAGE)[heading]
    summary = section.partition("\n\n")[0]
    assert summary.endswith(".")
    assert len(summary) <= 100
    assert not summary.startswith(("-", "`"))


def test_the_overview_lists_all_subcommands_by_task():
    assert list(GROUPS) == ["Ask", "Chat", "Data", "Code", "Models", "Server"]
    overview = help_text()
    for title, commands in GROUPS.items():
        assert f"\n{title}: subcommands of %ollama\n" in overview
        for command in commands:
            assert f"\n  {command.usage}" in overview


def test_the_page_of_settings_has_names_defaults_and_meanings():
    if not SETTINGS.is_file():
        pytest.skip("the pages are not part of an installed package")
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", SETTINGS.read_text("utf-8"), re.M)
    traits = sorted(OllamaMagics.class_own_traits(config=True).items())
    settings = [
        (name, f"`{trait.default()!r}` | {trait.help}") for name, trait in traits
    ]
    assert rows == [*settings, *ENVIRONMENT.items()]


def test_the_walls_and_tests_that_the_page_about_safety_names_exist():
    root = Path(__file__).parents[1]
    page = (root / "docs" / "safety.md").read_text("utf-8")
    tests = re.findall(r"`([\w/]+\.py)::(\w+)`", page)
    walls = re.findall(r"`((?!tests)\w+/[\w/]+\.py)`", page)
    assert len(tests) > 15
    for file, test in tests:
        assert f"def {test}(" in (root / "tests" / file).read_text("utf-8"), test
    assert [wall for wall in walls if not (root / "ollama_magic" / wall).exists()] == []
