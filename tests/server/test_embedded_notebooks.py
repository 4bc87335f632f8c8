"""The example notebooks on the real engine, then again without a server.

The first run caches its replies (the setting ``cached`` in ``ipython_config.py``); the
second one finds no server and cannot start one.
"""

import ast
import os

import pytest
from example_notebooks import EXAMPLES, execute, plain

pytestmark = pytest.mark.embedded

ROWS = "12"
LABELS = {"negative", "positive"}
INVOICES = [
    ("Northern Power", "84.5", "2026-11-15"),
    ("Studio Lotus", "39.0", "2026-11-30"),
    ("J. Miller", "120.0", "2026-12-01"),
]
REPLAYED = ("extract_a_table_from_text", "compare_models")
OF_THIS_RUN = (
    "%ollama serve",
    "%ollama pull",
    "%ollama create",
    "%ollama rm",
    "%ollama\n",  # the status, which names the server
    "map_prompts(",  # a progress line, which has seconds
    "= label(mails)",
)
"""Cells whose output depends on the run, not on replies."""


class Home:
    """The folder where a notebook runs twice."""

    def __init__(self, folder, models, without_ollama):
        self._folder = folder
        self._models = models
        self._without_ollama = without_ollama
        profile = folder / "ipythondir" / "profile_default"
        profile.mkdir(parents=True)
        setting = "c.OllamaMagics.cached = True\n"
        (profile / "ipython_config.py").write_text(setting)

    def run(self, name):
        """Run the notebook with the embedded engine."""
        with self._without_ollama(
            self._folder, OLLAMA_MAGIC_EMBEDDED_MODELS=self._models, ROWS=ROWS
        ):
            return execute(name)

    def run_without_server(self, name):
        """Run the notebook where the engine's package cannot be imported."""
        (self._folder / "xllamacpp.py").write_text("raise ImportError('not here')\n")
        paths = [str(self._folder), os.environ.get("PYTHONPATH", "")]
        with self._without_ollama(
            self._folder, PYTHONPATH=os.pathsep.join(filter(None, paths)), ROWS=ROWS
        ):
            return execute(name)


@pytest.fixture(scope="module")
def home_of(copy_of_store, without_ollama, tmp_path_factory):
    """Return a function that gives each notebook one home."""
    homes = {}

    def home(name):
        if name not in homes:
            folder = tmp_path_factory.mktemp(name)
            homes[name] = Home(folder, copy_of_store(), without_ollama)
        return homes[name]

    return home


@pytest.fixture(scope="module")
def run(home_of):
    """Return a function that runs a notebook once and returns the result."""
    ran = {}

    def run_(name):
        if name not in ran:
            ran[name] = home_of(name).run(name)
        return ran[name]

    return run_


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_engine_is_started_and_every_reply_is_one_output(run, name):
    notebook = run(name)
    assert "the embedded engine" in notebook.text("%ollama serve")
    for cell in notebook.cells:
        is_tagged = cell.metadata.get("tags")
        if cell.source.startswith("%%ollama") and not is_tagged:
            (output,) = cell.outputs
            assert set(output["data"]) == {"text/html", "text/plain"}


def test_four_turns_about_a_dataframe(run):
    notebook = run("chat_about_a_dataframe")
    answers = [c.outputs[0] for c in notebook.cells if c.source.startswith("%%ollama")]
    told = [output["metadata"]["ollama_magic"] for output in answers]
    assert [one["turn"] for one in told] == [1, 2, 3, 4]
    assert {one["host_kind"] for one in told} == {"embedded"}
    assert "DataFrame of 7 rows" in told[0]["prompt"]
    history = notebook.text("%ollama history").splitlines()
    assert [row.split()[0] for row in history] == ["Turn", "1", "2", "3", "4"]
    assert "smollm2:135m" in notebook.text("for block in answer.code")


def test_every_letter_becomes_a_row(run):
    notebook = run("extract_a_table_from_text")
    answer = notebook.output("%%ollama invoices")["metadata"]["ollama_magic"]
    assert answer["format"]["type"] == "array"
    assert "'name': 'Northern Power', 'amount': 84.5" in notebook.text("invoice.data")
    values = notebook.text("for letter in letters").splitlines()
    heading, *rows = notebook.text('mail[["sender"]].join').splitlines()
    assert heading.split() == ["sender", "name", "amount", "due", "error"]
    for invoice, value, row in zip(INVOICES, values, rows, strict=False):
        assert all(part in value and part in row for part in invoice)
    assert len(notebook.text("invoices.to_frame").splitlines()) == 4


def test_two_models_are_compared_and_one_is_kept(run):
    notebook = run("compare_models")
    told = notebook.output("%%ollama both")["metadata"]["ollama_magic"]
    assert [one["model"] for one in told["compared"]] == [
        "smollm2:135m",
        "smollm2-terse",
    ]
    frame = notebook.text("both.to_frame")
    assert all(name in frame for name in ("model", "text", "tokens", "seconds"))
    kept = notebook.output("%ollama keep")["metadata"]["ollama_magic"]
    assert (kept["model"], kept["turn"], kept["chat"]) == ("smollm2-terse", 1, "main")
    following = notebook.output("Rayleigh")["metadata"]["ollama_magic"]
    assert (following["model"], following["turn"]) == ("smollm2-terse", 2)
    *_, table, cleaning_up = notebook.cells
    html = table.outputs[0]["data"]["text/html"]
    assert all(f"<th>{name}</th>" in html for name in ("smollm2:135m", "smollm2-terse"))
    assert "Deleted smollm2-terse" in plain(cleaning_up.outputs[0])


def test_every_row_has_one_of_the_labels_or_an_error(run):
    notebook = run("label_a_thousand_rows")
    assert notebook.text("labels = label").startswith("smollm2:135m 12 of 12")
    assert "1 of 12 failed" in notebook.text("failed = ")
    assert "The prompt of this row is empty." in notebook.text("failed = ")
    _, table = notebook.outputs("pd.crosstab")
    heading, *_ = table["data"]["text/plain"].splitlines()
    assert set(heading.split()[1:]) == LABELS
    assert "100% right" in notebook.text("pd.crosstab")
    line, *_, is_equal = notebook.outputs("again = label")  # and a warning
    assert "11 cached" in line["data"]["text/plain"]
    assert ast.literal_eval(is_equal["data"]["text/plain"]) is True


@pytest.mark.parametrize(
    ("name", "cannot"),
    [
        ("describe_a_plot", "No installed model has vision"),
        ("let_a_model_call_your_function", "No installed model supports tools"),
    ],
)
def test_nothing_is_sent_to_a_model_without_the_capability(run, name, cannot):
    notebook = run(name)
    assert cannot in notebook.text("installed = %ollama list")
    for (error,) in [c.outputs for c in notebook.cells if c.metadata.get("tags")]:
        assert error["ename"] == "CapabilityError"
        assert "pull a model that supports" in error["evalue"]
    assert not any(c.outputs for c in notebook.cells if "ask(" in c.source)
    assert "nothing was sent" in notebook.text("--dry-run")


@pytest.mark.parametrize("name", REPLAYED)
def test_a_second_run_without_a_server_gives_the_same_notebook(run, home_of, name):
    first = run(name)
    second = home_of(name).run_without_server(name)
    assert "cached replies are shown" in second.text("%ollama serve")
    compared = 0
    for before, now in zip(first.cells, second.cells, strict=True):
        if not any(text in f"{before.source}\n" for text in OF_THIS_RUN):
            assert now.outputs == before.outputs, before.source
            compared += 1
    assert compared >= len(first.cells) - 6
