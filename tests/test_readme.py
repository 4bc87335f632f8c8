"""What README and guide claim is what the code has."""

import re
from pathlib import Path

import pytest

from ollama_magic import __all__ as public
from ollama_magic.notebook.cli.arguments import parse_chat_arguments
from ollama_magic.notebook.cli.command_line import parse_command

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "docs/guide.md"]
TEXTS = {name: (ROOT / name).read_text("utf-8") for name in PAGES}


@pytest.mark.parametrize("name", ["run", "headless", "tests"])
def test_each_command_is_one_line(name):
    block = TEXTS["README.md"].partition(f"<!-- {name} -->\n")[2].partition("\n\n")[0]
    assert re.fullmatch(r"    \S.*", block)


@pytest.mark.parametrize("page", PAGES)
def test_the_cells_that_are_shown_are_understood(page):
    lines = re.findall(r"^    (%%ollama\b.*)", TEXTS[page], re.MULTILINE)
    assert len(lines) > 5
    for line in lines:
        parse_chat_arguments(re.split(r" {3,}", line)[0].removeprefix("%%ollama"))


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_that_are_shown_are_understood(page):
    shown = re.findall(r"^    (?:\w+ = )?(%ollama\b.*)", TEXTS[page], re.MULTILINE)
    shown += re.findall(r"`(%ollama [a-z][^`…]*)`", TEXTS[page])
    assert len(shown) > 5
    for line in shown:
        typed = line.replace("DAYS", "30").replace("WORD", "pull")
        parse_command(re.split(r" {3,}", typed)[0].removeprefix("%ollama"))


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        path, _, anchor = target.partition("#")
        if not path.startswith("http"):
            file = (ROOT / page).parent / path if path else ROOT / page
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target


def anchors(file):
    headings = re.findall(r"^#+ (.*)", file.read_text("utf-8"), re.MULTILINE)
    kept = [
        "".join(c for c in h.lower() if c.isalnum() or c in " -_") for h in headings
    ]
    return {name.replace(" ", "-") for name in kept}


def test_every_public_name_is_in_the_guide():
    functions = {name for name in public if name[0] != "_" and "extension" not in name}
    text = "".join(TEXTS.values())
    missing = {name for name in functions if not re.search(rf"\b{name}\b", text)}
    assert missing <= {"OllamaMagicError"}
