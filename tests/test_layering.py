"""Imports point down or sideways within a layer, never up."""

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ollama_magic"

LAYERS = [
    # 0: facts
    {"_version", "errors", "wire", "ndjson", "host", "model_options", "model_names"}
    | {"redaction"},
    # 1: rules
    {"answer", "conversation", "footer", "kept_answers", "request", "transfer"}
    | {"server_errors", "server_words", "context", "prompts"}
    | {"schemas.spec", "schemas.types", "tools.docstrings", "management.modelfile"}
    | {"code_help.blocks", "code_help.to_run", "code_help.name_types"},
    # 2: outside
    {"client", "transport", "history"},
    # 3: front end
    {"arrivals", "background", "embedded", "interrupts", "listing", "notebook"}
    | {"call_site", "output_mode", "rendering", "serve"}
    | {"session_name", "shell_events"}
    | {"management.actions", "management.creation"}
    | {"code_help.next_cell", "code_help.failing_cells", "code_help.failure_text"},
    # 4: one cell
    {"answering", "api_session", "asking", "capabilities", "chat_commands"}
    | {"precedence", "replying", "server_models", "source"}
    | {"confirming", "doctor", "line", "outcome", "question", "reply", "session"}
    | {"settings_listing", "sharing", "code_help", "comparing", "management"}
    | {"mapping", "schemas", "tools"},
    # 5: doors
    {"__init__", "api", "commands", "completion", "input_transforms", "magics"}
    | {"panels", "widgets"},
]
LEVEL = {module: level for level, modules in enumerate(LAYERS) for module in modules}

HOMES = {
    "requests": {"transport"},
    "urllib3": {"transport"},
    "sqlite3": {"history"},
    "markdown": {"rendering"},
    "nh3": {"rendering"},
    "pygments": {"rendering"},
    "pymdownx": {"rendering"},
    "xllamacpp": {"embedded"},
    "ipywidgets": {"widgets"},
    "psutil": {"session_name"},
    "jsonschema": {"schemas"},
    "referencing": {"schemas"},
}


def level_of(module):
    """Return the layer of a module, or of the package that it is in; None: unknown."""
    while module:
        if module in LEVEL:
            return LEVEL[module]
        module = module.rpartition(".")[0]
    return None


@cache
def imports():
    """Return files, their modules, and what these import, in the package or not."""
    return list(found_imports())


def found_imports():
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE).with_suffix("")
        module = ".".join(relative.parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                base = node.module or ""
                names = [f"{base}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in names:
                yield path.relative_to(PACKAGE), module, name


def test_every_module_has_a_layer():
    for path, module, _ in imports():
        assert level_of(module) is not None, path


def test_imports_never_point_up():
    for path, module, name in imports():
        package, _, imported = name.partition(".")
        if package != "ollama_magic" or module == "__init__":
            continue
        level = level_of(imported)
        if level is not None:  # else a name of ``__init__``, such as ``__version__``
            assert level <= level_of(module), f"{path} imports {name}"


@pytest.mark.parametrize("library", HOMES)
def test_each_library_has_one_home(library):
    for path, module, name in imports():
        if name.split(".")[0] == library:
            assert module.split(".")[0] in HOMES[library], f"{path} imports {name}"


def test_ipython_starts_at_layer_three():
    for path, module, name in imports():
        if name.split(".")[0] in {"IPython", "traitlets", "ipywidgets"}:
            assert level_of(module) >= 3, f"{path} imports {name}"
