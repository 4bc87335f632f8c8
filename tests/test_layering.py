"""Imports point down or sideways within a layer, never up."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ollama_magic"

LAYERS = [
    {"_version", "errors", "wire", "ndjson", "host", "model_options", "model_names"},
    {"server_errors", "server_words", "conversation", "prompt", "request", "answer"}
    | {"estimate", "footer", "transfer", "code_blocks", "context", "context_size"}
    | {"modelfile", "values", "prompt_files", "schema", "schema_types"}
    | {"pictures", "picture_bytes", "docstrings", "kept_answers", "attachments"}
    | {"code_to_run", "name_types"},
    {"client", "transport", "history"},
    {"notebook", "rendering", "arrivals", "interrupts", "serve", "embedded", "listing"}
    | {"model_actions", "background", "creation"}
    | {"next_cell", "failing_cells", "failure_text", "shell_events"},
    {
        "line",
        "reply",
        "session",
        "question",
        "outcome",
        "asking",
        "answering",
        "model_commands",
    }
    | {
        "api_session",
        "mapping",
        "comparing",
        "comparison",
        "keeping",
        "capabilities",
        "tool_loop",
    }
    | {"sharing", "chat_commands", "confirming", "structured", "tool_functions"}
    | {"handing_over", "code_help", "past_cells"}
    | {"model_board", "model_job", "model_listings", "doctor", "settings_listing"},
    {"commands", "completion", "input_transforms", "magics", "__init__"}
    | {"widgets", "panels", "api"},
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
    "jsonschema": {"structured"},
}


def imports():
    """Yield file, its module at the top of the package, and what it imports."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                base = node.module or ""
                is_ours = base == "ollama_magic"
                names = [f"{base}.{a.name}" for a in node.names] if is_ours else [base]
            else:
                continue
            for name in names:
                yield path.relative_to(PACKAGE), module, name


def test_every_module_has_a_layer():
    modules = {path.parts[0].removesuffix(".py") for path, _, _ in imports()}
    assert modules <= set(LEVEL)


def test_imports_never_point_up():
    for path, module, name in imports():
        parts = name.split(".")
        if parts[0] != "ollama_magic" or module == "__init__":
            continue
        imported = parts[1] if len(parts) > 1 else "__init__"
        if imported in LEVEL and imported != "__init__":
            assert LEVEL[imported] <= LEVEL[module], f"{path} imports {name}"


@pytest.mark.parametrize("library", HOMES)
def test_each_library_has_one_home(library):
    for path, module, name in imports():
        if name.split(".")[0] == library:
            assert module in HOMES[library], f"{path} imports {name}"


def test_ipython_starts_at_layer_three():
    for path, module, name in imports():
        if name.split(".")[0] in {"IPython", "traitlets", "ipywidgets"}:
            assert LEVEL[module] >= 3, f"{path} imports {name}"
