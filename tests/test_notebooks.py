"""The example notebooks as files: clean, listed, and without extra requirements."""

import ast
import json
import re
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from example_notebooks import EXAMPLES, NOTEBOOKS
from IPython.core.inputtransformer2 import TransformerManager

ROOT = Path(__file__).parents[1]
NAMES = sorted(
    path.stem for path in NOTEBOOKS.glob("*.ipynb") if ".out" not in path.name
)

every_notebook = pytest.mark.parametrize("name", NAMES)


def read(name):
    return json.loads((NOTEBOOKS / f"{name}.ipynb").read_text("utf-8"))


def code(name):
    cells = [c for c in read(name)["cells"] if c["cell_type"] == "code"]
    return ["".join(cell["source"]) for cell in cells]


def markdown(name):
    cells = [c for c in read(name)["cells"] if c["cell_type"] == "markdown"]
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def test_every_notebook_is_executed_by_a_test():
    assert sorted({*EXAMPLES, "quickstart"}) == NAMES


@every_notebook
def test_a_notebook_is_clean(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    for cell in notebook["cells"]:
        assert cell["metadata"] in ({}, {"tags": ["raises-exception"]})
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@every_notebook
def test_cell_ids_are_readable(name):
    ids = [cell["id"] for cell in read(name)["cells"]]
    prefix = ids[0].rpartition("-")[0]
    assert ids == [f"{prefix}-{number:02}" for number in range(len(ids))]


def test_no_two_notebooks_share_a_cell_id():
    """A notebook continues the chats of the notebook whose cells it has."""
    ids = [cell["id"] for name in NAMES for cell in read(name)["cells"]]
    assert len(set(ids)) == len(ids)


@every_notebook
def test_a_notebook_begins_with_a_title_the_extension_and_a_server(name):
    assert markdown(name).startswith("# ")
    first, second, *_ = code(name)
    assert first.splitlines()[0] == "%load_ext ollama_magic"
    assert second == "%ollama serve"


@pytest.mark.parametrize("name", ["describe_a_plot", "let_a_model_call_your_function"])
def test_only_cells_that_ask_for_a_capability_may_fail(name):
    """*Run All* continues after them."""
    cells = read(name)["cells"]
    tagged = ["".join(cell["source"]) for cell in cells if cell["metadata"]]
    assert len(tagged) == 2
    assert all(re.match(r"%%ollama .*|%%ollama\n.*{{ fig }}", one) for one in tagged)


@every_notebook
def test_a_notebook_is_listed_in_the_readme(name):
    assert f"](notebooks/{name}.ipynb)" in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_notebook_is_listed_in_the_quickstart(name):
    assert re.search(rf"^- \[.+\]\({name}\.ipynb\): ", markdown("quickstart"), re.M)


@every_notebook
def test_a_notebook_imports_only_packages_that_the_tests_install(name):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    installed = {re.split(r"[^\w-]", one)[0].lower() for one in wanted}
    assert imported(name) - set(sys.stdlib_module_names) - {"ollama_magic"} <= installed


def imported(name):
    """Return the packages that the cells of a notebook import."""
    transform = TransformerManager().transform_cell
    found = set()
    for source in code(name):
        for node in ast.walk(ast.parse(transform(source))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                found.add(node.module.partition(".")[0])
    return found


def test_the_gallery_shows_cells_of_every_notebook():
    """Run ``docs/make_gallery.py`` after you change a notebook."""
    page = (ROOT / "docs" / "gallery.md").read_text("utf-8")
    assert re.findall(r"^From `notebooks/(\w+)\.ipynb`", page, re.M) == [
        "quickstart",
        *EXAMPLES,
    ]
    shown = re.findall(r"^```(?:ipython|python)\n(.*?)\n^```$", page, re.M | re.S)
    assert len(shown) > len(EXAMPLES)
    assert set(shown) <= {cell.rstrip(";") for name in NAMES for cell in code(name)}


def test_imports_are_found():
    assert {"pandas", "itertools", "ollama_magic"} <= imported("label_a_thousand_rows")
