"""Measure the structure of the package: ``python -m benchmarks.structure``.

Prints two tables: how many entries, files and lines there are, which value types one
prompt becomes, which class names have two meanings and which folders import each other
in a circle; and what a terminal cell, a click in the panel, ``map_prompts``,
``%ollama pull`` and ``ask`` pass through. Everything is counted from the code, and the
ways are real ones: see ``benchmarks.hops``.
"""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.server import ROOT, ollama

PACKAGE = ROOT / "ollama_magic"

STORED = {"Chat"}
"""Types that hold more than one prompt: a chat is loaded with all its turns."""


def sources() -> Iterator[Path]:
    yield from sorted(PACKAGE.rglob("*.py"))


def code_lines(path: Path) -> int:
    """Count lines that hold code: no blanks, comments or docstrings."""
    text = path.read_text(encoding="utf-8")
    lines: set[int] = set()
    skipped = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        is_docstring = (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        )
        if is_docstring:
            lines.difference_update(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(lines)


def function_lengths(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the code lines of each function, docstring left out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            if ast.get_docstring(node) is not None:
                text = node.body[0]
                length -= (text.end_lineno or 0) - text.lineno + 1
            yield length, f"{path.relative_to(ROOT)}:{node.name}"


def classes() -> dict[str, list[str]]:
    """Return each class name that more than one module defines, with the modules."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sources():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found[node.name].append(str(path.relative_to(PACKAGE)))
    return {name: places for name, places in found.items() if len(places) > 1}


def folder_imports() -> dict[str, set[str]]:
    """Return which top-level entries import which, type-only imports included."""
    arrows: defaultdict[str, set[str]] = defaultdict(set)
    for path in sources():
        own = path.relative_to(PACKAGE).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            else:
                continue
            for module in modules:
                head, _, rest = module.partition(".")
                other = rest.partition(".")[0]
                is_entry = (PACKAGE / other).is_dir() or (
                    PACKAGE / f"{other}.py"
                ).exists()
                if head == "ollama_magic" and other and is_entry and other != own:
                    arrows[own].add(other)
    arrows.pop("__init__", None)
    return arrows


def circles(arrows: dict[str, set[str]]) -> list[str]:
    """Return the entries that reach themselves through others."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = list(arrows.get(start, ()))
        while todo:
            one = todo.pop()
            if one not in seen:
                seen.add(one)
                todo += arrows.get(one, ())
        return seen

    return sorted(name for name in arrows if name in reached(name))


def five_ways() -> dict[str, Any]:
    """Run the five ways; return the modules, functions and types of each."""
    with ollama() as url:
        command = [sys.executable, "-m", "benchmarks.hops", url]
        return json.loads(subprocess.check_output(command, cwd=ROOT, text=True))


def one_cell() -> tuple[list[str], int, int, list[str]]:
    """Run one cell in a terminal shell; return what it passed through."""
    cell = five_ways()["cell"]
    return cell["modules"], cell["functions"], cell["changes"], cell["types"]


def prompt_types(cell: dict[str, Any]) -> list[str]:
    """Return the value types that one prompt becomes, from options to reply.

    The options, with which it begins, and each dataclass that is made for it and holds
    the text of the prompt or of its reply. What only describes the server, the shell or
    the words of the line is not one; nor is a chat, which holds other prompts too.
    """
    return ["ChatOptions", *(one for one in cell["with_text"] if one not in STORED)]


def tracked_entries() -> list[str]:
    listed = subprocess.check_output(
        ["git", "ls-files", "ollama_magic"], cwd=ROOT, text=True
    )
    return sorted({line.split("/")[1] for line in listed.splitlines()})


def main() -> None:
    files = list(sources())
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in files}
    code = {path: code_lines(path) for path in files}
    longest, where = max(one for path in files for one in function_lengths(path))
    largest = max(lines, key=lambda path: lines[path])
    ways = five_ways()
    cell = ways["cell"]
    values, types = prompt_types(cell), cell["types"]
    doubled = classes()
    counted = Counter(len(places) for places in doubled.values())
    rows = [
        ("entries at the top of the package", len(tracked_entries())),
        ("Python files", len(files)),
        ("lines", f"{sum(lines.values()):,}"),
        ("code lines (no docstrings, comments, blanks)", f"{sum(code.values()):,}"),
        ("files under 60 code lines", sum(count < 60 for count in code.values())),
        ("value types of one prompt", f"{len(values)}: {', '.join(values)}"),
        ("dataclasses that its cell makes", f"{len(types)}: {', '.join(types)}"),
        (
            "class names with two meanings",
            f"{sum(counted.values())}: {', '.join(sorted(doubled))}",
        ),
        ("folders in a circle", ", ".join(circles(folder_imports())) or "none"),
        ("longest function, code lines", f"{longest} ({where})"),
        ("largest file, lines", f"{lines[largest]} ({largest.relative_to(ROOT)})"),
    ]
    print("| | |\n|---|---|")
    for what, figure in rows:
        print(f"| {what} | {figure} |")
    print(
        "\n| way | modules entered | functions | changes of module |\n|---|---|---|---|"
    )
    for name, way in ways.items():
        hops = (len(way["modules"]), way["functions"], way["changes"])
        print(f"| {name} | {' | '.join(map(str, hops))} |")


if __name__ == "__main__":
    main()
