"""The examples in the README and the pages in ``docs/`` are valid."""

import ast
import re
from pathlib import Path

import pytest

from ollama_magic import __all__ as public
from ollama_magic import __version__
from ollama_magic.notebook.cli.parser import parse_chat_arguments
from ollama_magic.notebook.commands import COMMANDS, parse_command

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *sorted(f"docs/{f.name}" for f in (ROOT / "docs").glob("*.md"))]
TEXTS = {name: (ROOT / name).read_text("utf-8") for name in PAGES}
FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMES = {name for command in COMMANDS for name in (command.name, *command.aliases)}
EXAMPLES = {"DAYS": "30", "WORD": "pull", " N": " 3", "FILE.ipynb": "a.ipynb"}
LANGUAGES = {"bash", "ipython", "python", "text"}


def fences(name, *languages):
    """Return the code blocks of a page in some languages."""
    found = FENCE.findall(TEXTS[name])
    return [body for language, body in found if language in languages]


def inline(name, begins_with):
    """Return the code in the prose and the tables of a page."""
    prose = FENCE.sub("", TEXTS[name])
    code = re.findall(r"`([^`\n]+)`", prose)
    return [c for c in code if c.startswith(begins_with) and not re.search(r"[…[]", c)]


def pages_with(pattern):
    return [name for name in PAGES if re.search(pattern, TEXTS[name], re.MULTILINE)]


@pytest.mark.parametrize("name", ["run", "headless", "tests"])
def test_each_setup_command_is_one_line(name):
    """The gate runs these commands as the README shows them."""
    block = rf"^<!-- {name} -->\n```bash\n(\S.*)\n```$"
    assert len(re.findall(block, TEXTS["README.md"], re.MULTILINE)) == 1


def test_the_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES)
def test_every_code_block_names_its_language_and_is_closed(page):
    marks = re.findall(r"^```.*$", TEXTS[page], re.MULTILINE)
    assert len(marks) == 2 * len(FENCE.findall(TEXTS[page]))
    assert {language for language, _ in FENCE.findall(TEXTS[page])} <= LANGUAGES


@pytest.mark.parametrize("page", pages_with("^%%ollama"))
def test_example_cells_are_valid(page):
    for body in fences(page, "ipython"):
        line, _, prompt = body.partition("\n")
        if line.startswith("%%ollama"):
            parse_chat_arguments(line.removeprefix("%%ollama"))
            assert prompt.strip()
        assert "\n%%" not in body, "a cell magic begins its cell"
    for line in inline(page, "%%ollama "):
        parse_chat_arguments(line.removeprefix("%%ollama"))


@pytest.mark.parametrize("page", pages_with("%ollama [a-z]"))
def test_example_commands_are_valid(page):
    lines = "\n".join(fences(page, "ipython")).splitlines()
    shown = [re.sub(r"^\w+ = ", "", line) for line in [*lines, *inline(page, "%")]]
    for line in shown:
        if line.startswith("%ollama "):
            typed = line.removeprefix("%ollama")
            for placeholder, example in EXAMPLES.items():
                typed = typed.replace(placeholder, example)
            if typed.strip() not in NAMES:  # a subcommand without arguments
                parse_command(typed)


@pytest.mark.parametrize("page", pages_with("^```python"))
def test_example_python_is_valid(page):
    for body in fences(page, "python"):
        ast.parse(body)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_has_a_target(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", TEXTS[page])):
        path, _, anchor = target.partition("#")
        if not path.startswith("http"):
            file = (ROOT / page).parent / path if path else ROOT / page
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target


def anchors(file):
    """Return the names that GitHub gives to the headings of a page."""
    text = FENCE.sub("", file.read_text("utf-8"))
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    kept = [
        "".join(c for c in h.lower() if c.isalnum() or c in " -_") for h in headings
    ]
    return {name.replace(" ", "-") for name in kept}


@pytest.mark.parametrize("page", pages_with(r"\b(tests|notebooks)/"))
def test_every_path_in_the_docs_exists(page):
    found = re.findall(r"\b(?:tests|notebooks)/[\w./]*\w", TEXTS[page])
    made_by_a_command = {"notebooks/quickstart.out.ipynb"}
    assert [p for p in set(found) - made_by_a_command if not (ROOT / p).exists()] == []


def test_every_page_is_in_the_site_and_in_the_readme():
    site = (ROOT / "mkdocs.yml").read_text("utf-8")
    manual = {  # these pages include it
        "docs/options.md": "ollama_magic/notebook/cli/options.md",
        "docs/commands.md": "ollama_magic/notebook/cli/commands.md",
    }
    for name in PAGES[1:]:
        assert f": {name.removeprefix('docs/')}\n" in site, name
        if name not in {"docs/index.md", "docs/api.md"}:
            assert f"]({manual.get(name, name)})" in TEXTS["README.md"], name


def rows_of_front_ends(page):
    """Return the table of front ends of a page: its rows by their first cells."""
    lines = TEXTS[page].splitlines()
    (head,) = [n for n, line in enumerate(lines) if re.match(r"\| \| stream", line)]
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[head:]]
    names, _, *rows = table[: table.index([])]
    return {row[0]: dict(zip(names, row, strict=True)) for row in rows}


def test_the_readme_says_of_front_ends_what_their_page_says():
    page = rows_of_front_ends("docs/front-ends.md")
    rows = rows_of_front_ends("README.md")
    same = {name.casefold().partition(", ")[0]: row for name, row in page.items()}
    assert len(rows) == 4
    for name, row in rows.items():
        there = same[name.casefold().partition(", ")[0]]
        assert row["`-x`"] == there["`-x`"], name
        assert there["panel"].startswith(row["panel"]), name
        assert there["streams"].startswith("no") == row["streaming"].startswith("final")


def test_every_public_name_is_in_the_docs():
    functions = {name for name in public if name[0] != "_" and "extension" not in name}
    reference = TEXTS["docs/api.md"]
    assert [n for n in functions if not re.search(rf"\.{n}$", reference, re.M)] == []


def test_every_object_in_the_reference_exists():
    from importlib import import_module

    for path in re.findall(r"^::: ([\w.]+)$", TEXTS["docs/api.md"], re.MULTILINE):
        module, _, name = path.rpartition(".")
        assert getattr(import_module(module), name).__doc__, path


def test_the_hooks_before_a_commit_run_the_lint_of_the_gate():
    lint = re.findall(
        r"^\.venv/bin/(?:ruff|mypy|lint-imports|mkdocs).*$",
        (ROOT / ".ci" / "run").read_text(),
        re.MULTILINE,
    )
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"entry: (.*)", hooks) == lint


def test_the_citation_names_the_version():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {__version__}\n" in citation
