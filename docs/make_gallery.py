"""Write ``docs/gallery.md``: what the example notebooks show when they run.

``python docs/make_gallery.py`` needs the extra ``test``. It runs the notebooks on the
embedded engine, in an empty home, and edits none of their outputs. ``SHOWN`` names the
cells that are shown, each by a pattern in its source.
"""

from __future__ import annotations

import base64
import os
import re
import tempfile
from html import unescape
from io import BytesIO
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ROWS = "40"
SHOWN = {
    "quickstart": ["capital of France", "famous museums", "<< --once", "history"],
    "chat_about_a_dataframe": ["{{ sales }}", "<< -x", "%ollama history"],
    "extract_a_table_from_text": ["invoice <<", "invoice.data", "pd.to_datetime"],
    "describe_a_plot": ["plt.subplots", "--dry-run", "-a fig -t 0"],
    "let_a_model_call_your_function": ["reply << -T find_product"],
    "compare_models": ["--compare", "^questions$"],
    "label_a_thousand_rows": ["def label", "labelled.head", "pd.crosstab"],
}
HEAD = """\
# Gallery

This page shows cells of the example notebooks with their outputs. They ran on the
[embedded engine](servers.md#the-embedded-engine), a tiny model for trying things out;
a larger model gives better replies to the same prompts. `docs/make_gallery.py` writes
this page and edits no output.
"""
NEEDS_MORE = "The embedded engine cannot do this, so the cell says what is missing:"


def main() -> None:
    """Run the notebooks and write the page and its pictures."""
    parts = [HEAD.rstrip()]
    for name, shown in SHOWN.items():
        notebook = run(name)
        title, text = notebook.cells[0].source.split("\n\n")[:2]
        parts.append(f"#{title}\n\nFrom `notebooks/{name}.ipynb`. {text}")
        for cell in notebook.cells:
            if cell.cell_type == "code" and any(
                re.search(part, cell.source) for part in shown
            ):
                parts += cell_with_outputs(cell, name)
    (DOCS / "gallery.md").write_text("\n\n".join(parts) + "\n", "utf-8")


def run(name: str) -> nbformat.NotebookNode:
    """Return a notebook that has run on the embedded engine."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        for variable in ("IPYTHONDIR", "XDG_DATA_HOME"):
            os.environ[variable] = str(Path(folder) / variable)
        os.environ |= {"OLLAMA_HOST": "127.0.0.1:9", "ROWS": ROWS}
        where = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=900, resources=where).execute()
    return notebook


def cell_with_outputs(cell: nbformat.NotebookNode, name: str) -> list[str]:
    """Return the Markdown of a cell and of each of its outputs."""
    language = "ipython" if cell.source.lstrip().startswith("%") else "python"
    found = [fenced(cell.source.rstrip(";"), language)]
    for output in cell.outputs:
        if output.output_type == "error":
            found += [NEEDS_MORE, fenced(output.evalue)]
        elif output.output_type == "stream":
            found += [fenced(output.text)] if output.name == "stdout" else []
        else:
            found.append(shown_data(output, name))
    return found


def shown_data(output: nbformat.NotebookNode, name: str) -> str:
    """Return the Markdown of a picture, a table, a reply or a plain text."""
    data = output.data
    html = data.get("text/html", "")
    if "image/png" in data:
        picture = Image.open(BytesIO(base64.b64decode(data["image/png"])))
        file = DOCS / "images" / f"{name}.png"
        picture.convert("RGB").quantize(32).save(file, optimize=True)
        return f"![The figure of this cell](images/{file.name})"
    if "ollama_magic" in output.metadata:
        return reply(data["text/plain"], html)
    return table(html) if "<thead" in html else fenced(data["text/plain"])


def reply(text: str, html: str) -> str:
    """Return a reply as a quotation, with the footer of its HTML."""
    text = text.replace("\n[embedded engine (demo model)]", "").rstrip()
    text = re.sub(r"^## (.*)$", r"**\1**", text, flags=re.MULTILINE)
    if text.startswith("{"):
        text = fenced(text)
    if footer := re.search(r'opacity:\.75[^>]*">([^<]*)</div></div>(<style|$)', html):
        text += f"\n\n*{unescape(footer[1])}*"
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def table(html: str) -> str:
    """Return an HTML table as a Markdown table."""
    rows = [
        [
            cell_text(cell)
            for cell in re.findall(r"<t[hd]\b[^>]*>(.*?)</t[hd]>", row, re.S)
        ]
        for row in re.findall(r"<tr\b[^>]*>(.*?)</tr>", html, re.DOTALL)
    ]
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cell_text(html: str) -> str:
    """Return the text of a cell of a table, as Markdown."""
    text = " ".join(unescape(re.sub(r"<[^>]*>", "", html)).split())
    return re.sub(r"([|*_`<\\])", r"\\\1", text)


def fenced(text: str, language: str = "text") -> str:
    """Return a text as a fence."""
    return f"```{language}\n{text.rstrip()}\n```"


if __name__ == "__main__":
    main()
