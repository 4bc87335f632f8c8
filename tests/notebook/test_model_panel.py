"""The panel without a browser: its widgets are clicked from Python."""

import json
import threading
import time

import ipywidgets as widgets
import pytest
from fake_ollama import Answer, Wait, error, json_answer

from ollama_magic.client import actions
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.registry import ModelUpdate
from ollama_magic.render.panel_html import TableRow, model_table_html
from ollama_magic.widgets import parts
from ollama_magic.widgets.manager import ModelManager
from ollama_magic.widgets.panel import ModelPanel, close_panels, open_panel

PATIENCE_S = 20.0


def lines(*completed, total=100):
    return [
        {"status": "pulling a", "digest": "sha256:a", "total": total, "completed": c}
        for c in completed
    ]


class Driver:
    """Clicks through a panel and reads it."""

    def __init__(self, url, **settings):
        self.chosen = []
        self.manager = ModelManager(OllamaClient(url), interval_s=0.01, **settings)
        self._changed = threading.Condition()
        self.panel = ModelPanel(self.manager, use=lambda n, _: self.chosen.append(n))
        for field in (self.panel._notice, self.panel._dialogs._copy._warning):
            field.observe(lambda _: self._tell(), "value")
        self.manager.subscribe(self._tell)
        self.manager.refresh()

    def _tell(self):
        with self._changed:
            self._changed.notify_all()

    def wait(self, is_true):
        with self._changed:
            assert self._changed.wait_for(is_true, PATIENCE_S), self.text
        return self

    def wait_text(self, text):
        return self.wait(lambda: text in self.text)

    def all(self, kind, widget=None):
        widget = self.panel if widget is None else widget
        if widget.layout.display == "none":
            return
        if isinstance(widget, kind):
            yield widget
        for child in getattr(widget, "children", ()):
            yield from self.all(kind, child)

    @property
    def text(self):
        """Return all visible text."""
        parts = [w.value for w in self.all((widgets.HTML, widgets.Label))]
        parts += [w.description for w in self.all(widgets.Button)]
        return "\n".join(parts)

    def button(self, text):
        return next(b for b in self.all(widgets.Button) if b.description == text)

    def click(self, text):
        button = self.button(text)
        assert not button.disabled, text
        button.click()
        return self

    def select(self, *names):
        """Click on rows, as a browser reports it."""
        if len(names) > 1:
            next(self.all(widgets.ToggleButton)).value = True
        for name in names:
            (rows,) = self.all(widgets.ToggleButtons)
            rows.index = rows.options.index(name)
            rows._handle_custom_msg({"event": "click"}, [])
        return self

    def pull(self, name):
        next(self.all(widgets.Combobox)).value = name
        return self.click("Pull")

    @property
    def names(self):
        return [
            name for rows in self.all(widgets.ToggleButtons) for name in rows.options
        ]

    def text_box(self, placeholder):
        boxes = self.all((widgets.Text, widgets.Combobox))
        return next(w for w in boxes if placeholder in w.placeholder)


def enter(field):
    """Press Enter in a field."""
    field._handle_custom_msg({"event": "submit"}, [])


@pytest.fixture
def drive(fake_ollama):
    drivers = []

    def start(*models, **settings):
        if models:
            fake_ollama.models(models)
        drivers.append(Driver(fake_ollama.url, **settings))
        return drivers[-1].wait(lambda: drivers[-1].manager.server.state == "online")

    yield start
    for driver in drivers:
        driver.panel.close()


def test_models_are_listed_with_the_server(drive, fake_ollama):
    driver = drive("one:1b", "two:2b").wait_text("two:2b")
    assert sorted(driver.names) == ["one:1b", "two:2b"]
    assert fake_ollama.url in driver.text
    assert "2 models" in driver.text


def test_an_empty_server_has_a_hint(drive, fake_ollama):
    fake_ollama.models([])
    assert drive().wait_text("No models yet")
    assert not drive().names


def test_a_filter_hides_models_and_deselects_them(drive):
    driver = drive("one:1b", "two:2b").wait_text("two:2b").select("one:1b")
    driver.text_box("Filter").value = "TWO"
    assert driver.names == ["two:2b"]
    assert "1 of 2 models" in driver.text
    assert "Delete…" not in driver.text


def test_the_list_can_be_sorted(drive):
    models = [
        {"name": "b", "size": 1},
        {"name": "a", "size": 3},
        {"name": "c", "size": 2},
    ]
    driver = drive(*models).wait_text("3 models")
    assert driver.click("Model").names == ["a", "b", "c"]
    assert driver.click("Model ▲").names == ["c", "b", "a"]
    assert driver.click("Size").names == ["a", "c", "b"]
    assert driver.click("Size ▼").names == ["b", "c", "a"]


def test_a_model_stays_selected_when_the_list_changes(drive, fake_ollama):
    """A list that changes during a click must never delete another model."""
    driver = drive("one:1b", "two:2b").wait_text("two:2b").select("two:2b")
    fake_ollama.models(["new:3b", "one:1b", "two:2b"])
    driver.click("Refresh").wait_text("new:3b")
    driver.click("Delete…")
    assert "Delete 1 model?" in driver.text
    driver.click("Delete 1 model").wait(lambda: "two:2b" not in fake_ollama.model_names)
    assert fake_ollama.model_names == ["new:3b", "one:1b"]


def test_a_model_is_pulled(drive, fake_ollama):
    driver = drive().wait_text("llama3.2:3b").pull("new:1b")
    driver.wait(lambda: "new:1b" in driver.names)
    assert "pulled new:1b" in driver.text
    driver.click("Dismiss")
    driver.wait(lambda: "pulled new:1b" not in driver.text)


def test_pulling_an_installed_model_reports_it_is_up_to_date(drive, fake_ollama):
    fake_ollama.replay("pull_existing")
    driver = drive().wait_text("llama3.2:3b").pull("smollm2:135m")
    driver.wait_text("smollm2:135m is up to date")


def test_enter_pulls_and_an_empty_name_is_an_error(drive, fake_ollama):
    driver = drive().wait_text("llama3.2:3b")
    name = next(driver.all(widgets.Combobox))
    enter(name)
    driver.wait_text("Enter the name")
    name.value = "n"
    enter(name)
    name.value = "new:1b"  # the rest of what was typed before Enter
    driver.wait_text("pulled new:1b")
    assert fake_ollama.bodies("/api/pull")[0]["model"] == "new:1b"
    assert name.value == ""


def test_a_pull_is_cancelled_at_the_server_and_resumed(drive, fake_ollama):
    gate = threading.Event()
    fake_ollama.on("POST /api/pull", Answer([*lines(30), Wait(gate)]))
    driver = drive().wait_text("llama3.2:3b").pull("big:70b").wait_text("30 B of 100 B")
    driver.click("Cancel").wait_text("cancelled at 30 B")
    request = fake_ollama.wait_for("/api/pull")
    assert request.wait_closed(5)
    assert request.was_cut_off
    fake_ollama.on("POST /api/pull", Answer([*lines(30, 100), {"status": "success"}]))
    driver.click("Retry").wait_text("pulled big:70b")


def test_pulls_run_in_parallel_but_one_model_is_pulled_once(drive, fake_ollama):
    gate = threading.Event()
    fake_ollama.on("POST /api/pull", Answer([*lines(10), Wait(gate)]))
    driver = drive().wait_text("llama3.2:3b")
    driver.pull("a:1").pull("b:1").pull("a:1")
    fake_ollama.wait_for("/api/pull", count=2)
    driver.wait(lambda: driver.text.count("10 B of 100 B") == 2)
    assert len(fake_ollama.bodies("/api/pull")) == 2


def test_progress_that_goes_backwards_stays_readable(drive, fake_ollama):
    gate, back = threading.Event(), threading.Event()
    steps = [*lines(60), Wait(back), *lines(20), Wait(gate)]
    fake_ollama.on("POST /api/pull", Answer(steps))
    driver = drive().wait_text("llama3.2:3b").pull("a:1").wait_text("60 B of 100 B")
    back.set()
    driver.wait_text("20 B of 100 B")
    assert "-" not in driver.text.partition("20 B of 100 B")[2].partition("<")[0]
    assert next(driver.all(widgets.FloatProgress)).value == pytest.approx(0.2)


def test_a_stall_is_shown(drive, fake_ollama):
    gate = threading.Event()
    fake_ollama.on("POST /api/pull", Answer([*lines(30), Wait(gate)]))
    driver = drive(stall_s=0.2).wait_text("llama3.2:3b").pull("a:1")
    driver.wait_text("stalled")
    assert driver.button("Cancel")


@pytest.mark.parametrize(
    "answer",
    [
        Answer([{"status": "pulling manifest"}, {"error": "file does not exist"}]),
        Answer([*lines(30)]),
        Answer([*lines(30)], cut_after=40),
        error(500, "max retries exceeded"),
    ],
    ids=["error line", "no success", "cut", "refused"],
)
def test_a_failed_pull_says_why_and_can_be_retried(drive, fake_ollama, answer):
    fake_ollama.on("POST /api/pull", answer)
    driver = drive().wait_text("llama3.2:3b").pull("nosuch:1b")
    driver.wait(lambda: driver.manager.jobs[-1].state == "failed").wait_text("next:")
    assert driver.button("Retry")
    assert driver.button("Dismiss")


def test_deleting_needs_a_confirmation(drive, fake_ollama):
    models = [{"name": "one:1b", "size": 2_000_000_000}, {"name": "two:2b", "size": 5}]
    driver = drive(*models).wait_text("two:2b").select("one:1b", "two:2b")
    driver.click("Delete 2…")
    for text in (
        "Delete 2 models?",
        "one:1b   2.0 GB",
        "two:2b",
        "can&#x27;t be undone",
    ):
        assert text in driver.text
    driver.click("Cancel")
    assert "Delete 2 models?" not in driver.text
    assert len(fake_ollama.model_names) == 2
    driver.click("Delete 2…").click("Delete 2 models")
    driver.wait(lambda: not fake_ollama.model_names).wait_text("No models yet")


def deselect(driver, name):
    driver.select(name)  # again


def filter_by(driver, text):
    driver.text_box("Filter").value = text


def refresh_without(driver, fake_ollama, name):
    fake_ollama.models([one for one in fake_ollama.model_names if one != name])
    driver.click("Refresh").wait(lambda: name not in driver.names)


CHANGES = {
    "one is deselected": lambda d, _: deselect(d, "two:2b"),
    "all are deselected": lambda d, _: (deselect(d, "one:1b"), deselect(d, "two:2b")),
    "one more is selected": lambda d, _: d.select("three:3b"),
    "a filter hides one": lambda d, _: filter_by(d, "one"),
    "a filter hides all": lambda d, _: filter_by(d, "nothing"),
    "the list is refreshed": lambda d, _: d.click("Refresh"),
    "one was deleted": lambda d, fake: refresh_without(d, fake, "two:2b"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_question_closes_when_the_selection_changes(drive, fake_ollama, change):
    driver = drive("one:1b", "two:2b", "three:3b").wait_text("three:3b")
    driver.select("one:1b", "two:2b").click("Delete 2…")
    assert "Delete 2 models?" in driver.text
    CHANGES[change](driver, fake_ollama)
    driver.wait(lambda: "Delete 2 models" not in driver.text)
    assert not fake_ollama.bodies("/api/delete")


def test_a_question_closes_when_its_model_changes(drive, fake_ollama):
    driver = drive({"name": "one:1b", "size": 5, "digest": "a" * 64})
    driver.wait_text("one:1b").select("one:1b").click("Delete…")
    assert "Delete 1 model?" in driver.text
    fake_ollama.models([{"name": "one:1b", "size": 6, "digest": "b" * 64}])
    driver.click("Refresh").wait(lambda: "Delete 1 model?" not in driver.text)


def test_a_question_stays_open_during_other_changes(drive, fake_ollama):
    driver = drive("one:1b", "two:2b").wait_text("two:2b").select("one:1b")
    driver.click("Delete…")
    filter_by(driver, "one")
    driver.pull("new:1b").wait_text("pulled new:1b")
    assert "Delete 1 model?" in driver.text
    driver.click("Delete 1 model").wait(lambda: "one:1b" not in driver.names)
    assert "two:2b" in fake_ollama.model_names


@pytest.mark.parametrize(
    "change",
    [
        lambda driver, _: deselect(driver, "one:1b"),
        lambda driver, _: driver.select("two:2b"),
        lambda driver, _: filter_by(driver, "two"),
        lambda driver, fake: refresh_without(driver, fake, "one:1b"),
    ],
)
def test_the_copy_dialog_closes_when_the_selection_changes(drive, fake_ollama, change):
    driver = drive("one:1b", "two:2b").wait_text("two:2b").select("one:1b")
    driver.click("Copy…")
    assert "Copy one:1b to" in driver.text
    change(driver, fake_ollama)
    driver.wait(lambda: "Copy one:1b to" not in driver.text)


def test_the_question_says_that_deleting_a_copy_frees_no_space(drive):
    twins = [{"name": n, "size": 7_000_000, "digest": "d" * 64} for n in ("a:1", "b:1")]
    driver = drive(*twins).wait_text("b:1")
    assert "7.0 MB on disk" in driver.text
    driver.select("a:1").click("Delete…")
    assert "frees no space" in driver.text


def test_one_deletion_fails_and_the_other_succeeds(drive, fake_ollama):
    driver = drive("one:1b", "two:2b").wait_text("two:2b").select("one:1b", "two:2b")
    fake_ollama.on(
        "DELETE /api/delete",
        lambda r: (
            error(500, "disk is broken") if "one" in r.json["model"] else Answer()
        ),
    )
    driver.click("Delete 2…").click("Delete 2 models")
    driver.wait_text("disk is broken").wait_text("deleted two:2b")


def test_a_copy_warns_before_it_replaces_a_model(drive, fake_ollama):
    driver = drive("one:1b", "two:2b").wait_text("two:2b").select("one:1b")
    driver.click("Copy…")
    name = driver.text_box("name of the copy")
    driver.click("Copy")
    assert "Enter a different name" in driver.text
    name.value = "two:2b"
    driver.click("Copy")
    assert "would be replaced" in driver.text
    assert fake_ollama.bodies("/api/copy") == []
    name.value = "three:3b"
    assert "would be replaced" not in driver.text
    driver.click("Copy").wait_text("copied one:1b to three:3b")
    assert fake_ollama.bodies("/api/copy") == [
        {"source": "one:1b", "destination": "three:3b"}
    ]


def test_one_model_can_be_copied_twice(drive, fake_ollama):
    driver = drive("one:1b").wait_text("one:1b")
    for name in ("a", "b", "a"):
        driver.manager.copy("one:1b", name, overwrite=True)
    driver.wait(lambda: {"a:latest", "b:latest"} <= set(fake_ollama.model_names))
    driver.wait(lambda: all(job.state == "done" for job in driver.manager.jobs))
    assert {job.line for job in driver.manager.jobs} == {
        "copied one:1b to a",
        "copied one:1b to b",
    }


def test_deleting_two_names_of_one_model_frees_its_space_once(drive):
    twins = [{"name": n, "size": 7_000_000, "digest": "d" * 64} for n in ("a:1", "b:1")]
    driver = drive(*twins).wait_text("b:1").select("a:1", "b:1")
    driver.click("Delete 2…")
    assert "It frees 7.0 MB" in driver.text
    driver.click("Delete 2 models")
    driver.wait(lambda: [job.state for job in driver.manager.jobs] == ["done", "done"])
    assert sorted("freed" in job.line for job in driver.manager.jobs) == [False, True]


def test_an_error_while_drawing_is_shown_and_the_panel_keeps_working(drive):
    driver = drive("one:1b").wait_text("one:1b")
    draw, fails = driver.panel.draw, [True]

    def broken(*args):
        if fails:
            raise RuntimeError(f"cannot draw {fails.pop()}")
        draw(*args)

    driver.panel.draw = broken
    driver.click("Refresh").wait_text("RuntimeError: cannot draw")
    driver.pull("new:1b").wait_text("pulled new:1b")


def test_replacing_a_model_needs_a_second_click(drive, fake_ollama):
    driver = (
        drive("one:1b", "two:2b").wait_text("two:2b").select("one:1b").click("Copy…")
    )
    name = driver.text_box("name of the copy")
    name.value = "TWO:2b"
    driver.click("Copy").click("Replace").wait_text("copied one:1b to TWO:2b")


def test_the_details_of_a_model_are_shown(drive, fake_ollama):
    fake_ollama.replay("show_basic")
    driver = drive("smollm2:135m").wait_text("smollm2:135m").select("smollm2:135m")
    driver.click("Show").wait_text("Context length")
    (tabs,) = driver.all(widgets.Tab)
    assert tabs.titles[0] == "Details"
    assert "Modelfile" in tabs.titles
    driver.click("Close")
    assert not list(driver.all(widgets.Tab))


def test_use_sets_the_default_model(drive):
    driver = drive("one:1b", "two:2b").wait_text("two:2b").select("two:2b").click("Use")
    assert driver.chosen == ["two:2b"]
    driver.wait_text("default")


def test_use_rejects_a_model_that_only_embeds(drive, fake_ollama):
    entries = [
        {"name": "chat:1b", "capabilities": ["completion"]},
        {"name": "vectors:1b", "capabilities": ["embedding"]},
    ]
    fake_ollama.on("GET /api/tags", Answer([json.dumps({"models": entries})]))
    driver = drive().wait_text("vectors:1b").select("vectors:1b").click("Use")
    assert driver.chosen == []
    driver.wait_text("does not support chat").wait_text("its capabilities: embedding")


def test_a_model_is_loaded_and_unloaded(drive, fake_ollama):
    driver = drive().wait_text("llama3.2:3b").select("llama3.2:3b")
    assert "Unload" not in driver.text
    driver.click("Load").wait_text("loaded llama3.2:3b in ")
    loaded = {"name": "llama3.2:3b", "size": 4_000_000_000, "size_vram": 1_000_000_000}
    fake_ollama.on("GET /api/ps", Answer([json.dumps({"models": [loaded]})]))
    driver.click("Refresh").wait_text("4.0 GB, 25% GPU").wait_text("Unload")
    driver.click("Unload").wait_text("unloaded llama3.2:3b")
    assert fake_ollama.bodies("/api/generate")[-1]["keep_alive"] == 0


def test_a_load_can_be_cancelled_at_the_server(drive, fake_ollama):
    gate = threading.Event()
    fake_ollama.on("POST /api/generate", Answer([], hold_headers=gate))
    driver = drive().wait_text("llama3.2:3b").select("llama3.2:3b").click("Load")
    request = fake_ollama.wait_for("/api/generate")
    driver.wait_text("Cancel").click("Cancel").wait_text("cancelled")
    assert request.wait_closed(5)


def test_the_panel_recovers_after_its_server_was_offline(drive, fake_ollama):
    driver = drive().wait_text("llama3.2:3b")
    listed = json_answer({"models": [{"name": "llama3.2:3b"}]})
    fake_ollama.on("GET /api/tags", error(503, "starting up"), listed)
    driver.click("Refresh").wait_text("starting up")
    assert "%ollama serve" in driver.text
    assert not driver.names
    driver.click("Refresh").wait_text("llama3.2:3b")


def test_the_panel_needs_the_list_of_models_only(drive, fake_ollama):
    """A proxy may hide the rest, or answer with pages of its own."""
    page = Answer(["<h1>No</h1>"], status=403, content_type="text/html")
    for endpoint in ("GET /api/version", "GET /api/ps", "POST /api/show"):
        fake_ollama.on(endpoint, page)
    driver = drive().wait_text("llama3.2:3b")
    assert f"Ollama at {fake_ollama.url}" in driver.text
    driver.select("llama3.2:3b").click("Use")
    assert driver.chosen == ["llama3.2:3b"]


def test_an_error_of_a_button_is_shown_and_the_button_stays_usable(drive):
    driver = drive().wait_text("llama3.2:3b").select("llama3.2:3b")

    def fail(*_):
        raise RuntimeError("the store is broken")

    driver.panel._use = fail
    driver.click("Use")
    assert "RuntimeError: the store is broken" in driver.text
    assert not driver.button("Use").disabled
    assert driver.click("Show").wait_text("Context length")


def test_a_closed_panel_does_nothing_and_has_no_threads(drive, fake_ollama):
    gate = threading.Event()
    fake_ollama.on("POST /api/pull", Answer([*lines(30), Wait(gate)]))
    driver = drive().wait_text("llama3.2:3b").pull("a:1").wait_text("30 B of 100 B")
    refresh = driver.button("Refresh")
    driver.panel.close()
    driver.panel.close()
    refresh.click()
    names = [t.name for t in threading.enumerate() if t.name.startswith("ollama")]
    assert names == []
    assert fake_ollama.wait_for("/api/pull").wait_closed(5)


def test_closed_widgets_are_freed(drive):
    """Rows, questions and details come and go; their widgets must not accumulate."""
    driver = drive("one:1b", "two:2b").wait_text("two:2b").select("one:1b")

    def count():
        return len(widgets.Widget.get_manager_state()["state"])

    before = count()
    for _ in range(3):
        driver.click("Delete…").click("Cancel")
        driver.click("Copy…").click("Cancel")
        driver.pull("new:1b").wait_text("pulled new:1b").click("Dismiss")
        driver.wait(lambda: "pulled new:1b" not in driver.text)
    assert count() - before < 5  # the new model's own
    driver.panel.close()
    assert count() < before


def test_a_panel_keeps_its_server(drive, fake_ollama, monkeypatch):
    """A changed host must not redirect a deletion to another server."""
    driver = drive("one:1b").wait_text("one:1b")
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    driver.select("one:1b").click("Delete…").click("Delete 1 model")
    driver.wait(lambda: fake_ollama.model_names == [])


def test_a_hundred_models_are_drawn_at_once(drive):
    driver = drive(*(f"model-{n}:1b" for n in range(100))).wait_text("100 models")
    assert len(driver.names) == 100


def test_the_same_server_has_one_panel_until_it_is_closed(fake_ollama):
    def open_():
        return open_panel(OllamaClient(fake_ollama.url))

    first = open_()
    assert open_() is first
    first.close()
    assert open_() is not first
    close_panels()
    deadline = time.monotonic() + PATIENCE_S
    while any(t.name.startswith("ollama") for t in threading.enumerate()):
        assert time.monotonic() < deadline


@pytest.fixture
def open_for(fake_ollama):
    """Open the panel of a key and a notebook, as ``%ollama panel`` does."""

    def open_(api_key, notebook):
        client = OllamaClient(fake_ollama.url, api_key=api_key)
        return open_panel(client, notebook=notebook, use=lambda _: None)

    yield open_
    close_panels()


def test_each_key_and_notebook_has_its_own_panel(open_for):
    first = open_for("key", "a.ipynb")
    other_key, other_notebook = open_for("other", "a.ipynb"), open_for("key", "b.ipynb")
    assert len({id(panel) for panel in (first, other_key, other_notebook)}) == 3
    assert open_for("key", "a.ipynb") is first
    assert open_for("other", "a.ipynb") is other_key
    assert open_for("key", "b.ipynb") is other_notebook


def test_the_identity_of_a_client_does_not_contain_its_key(fake_ollama):
    client = OllamaClient(fake_ollama.url, api_key="s3cr3t-token")
    assert "s3cr3t" not in client.identity
    assert client.identity == OllamaClient(client.host, api_key="s3cr3t-token").identity
    assert client.identity != OllamaClient(client.host, api_key="").identity


def test_a_new_api_key_is_used_by_the_next_panel(kernel, fake_ollama):
    kernel.run("first = %ollama panel")
    kernel.run("import os; os.environ['OLLAMA_API_KEY'] = 'new-key'")
    del fake_ollama.requests[:]
    ran = kernel.run("second = %ollama panel\nprint(second is first)")
    assert ran.streams == "False\n"
    request = fake_ollama.wait_for("/api/tags")
    assert request.headers["authorization"] == "Bearer new-key"
    ran = kernel.run("third = %ollama panel\nprint(third is second)")
    assert ran.streams == "True\n"


def test_use_sets_the_model_of_the_notebook_in_the_current_settings(
    kernel, fake_ollama, tmp_path
):
    fake_ollama.models(["one:1b", "two:2b"])
    kernel.run("%config OllamaMagics.model = 'one:1b'")
    kernel.run("first = %ollama panel")
    kernel.run(f"%config OllamaMagics.notebook = {str(tmp_path / 'other.ipynb')!r}")
    kernel.run("second = %ollama panel\nsecond._use('two:2b', '')")
    kernel.run("%%ollama\nHello")
    assert fake_ollama.bodies("/api/chat")[-1]["model"] == "two:2b"
    kernel.run(f"%config OllamaMagics.notebook = {str(tmp_path / 'notebook.ipynb')!r}")
    kernel.run("%%ollama\nHello")
    assert fake_ollama.bodies("/api/chat")[-1]["model"] == "one:1b"


def test_the_output_is_followed_by_a_table_and_has_no_token(fake_ollama, monkeypatch):
    """A front end that finds a widget looks at nothing else in the same output."""
    shown = []
    monkeypatch.setattr(parts, "publish_display_data", shown.append)
    panel = open_panel(OllamaClient(fake_ollama.url, api_key="s3cr3t-token"))
    panel._ipython_display_()
    view, table = shown
    assert set(view) == {"application/vnd.jupyter.widget-view+json", "text/plain"}
    for text in ("llama3.2:3b", "run %ollama panel"):
        assert text in table["text/html"]
        assert text in table["text/plain"]
    assert "s3cr3t" not in json.dumps(widgets.Widget.get_manager_state())
    close_panels()


def test_a_cell_runs_during_a_pull_and_unloading_ends_it(kernel, fake_ollama):
    gate = threading.Event()
    fake_ollama.on("POST /api/pull", Answer([*lines(30), Wait(gate)]))
    kernel.run("panel = %ollama panel")
    kernel.run("panel._name.value = 'a:1'; panel._pull.click()")
    request = fake_ollama.wait_for("/api/pull")
    assert kernel.run("print(6 * 7)").streams == "42\n"
    ran = kernel.run(
        "%unload_ext ollama_magic\nimport threading\n"
        "print([t.name for t in threading.enumerate() if t.name.startswith('ollama')])"
    )
    assert ran.streams == "[]\n"
    assert request.wait_closed(5)


def test_a_click_selects_one_model_or_adds_it_to_several(drive):
    driver = drive("one:1b", "two:2b", "three:3b").wait_text("three:3b")
    names = lambda: {row.summary.name for row in driver.panel._model_list.selected}  # noqa: E731
    driver.select("one:1b").select("two:2b")
    assert names() == {"two:2b"}
    assert "selected: two:2b" in driver.text
    driver.select("two:2b")
    assert names() == set()
    driver.select("one:1b", "two:2b")
    assert names() == {"one:1b", "two:2b"}
    assert not [b for b in driver.all(widgets.Button) if b.description == "Use"]
    next(driver.all(widgets.ToggleButton)).value = False
    assert names() == set()


def test_a_click_on_a_list_that_has_changed_selects_nothing(drive, fake_ollama):
    """A click arrives as a position, which would be another model's in the new list."""
    driver = drive("one:1b", "two:2b").wait_text("two:2b")
    (old,) = driver.all(widgets.ToggleButtons)
    refresh_without(driver, fake_ollama, "one:1b")
    old.index = 0
    old._handle_custom_msg({"event": "click"}, [])
    assert driver.panel._model_list.selected == ()


def test_rows_show_what_tells_models_apart(drive, fake_ollama):
    details = {"parameter_size": "3.2B", "quantization_level": "Q4_K_M"}
    cloud = {"name": "big:cloud", "size": 384, "remote_host": "https://ollama.com:443"}
    able = ["completion", "tools", "insert", "vision"]
    local = {"name": "one:1b", "size": 5, "details": details, "capabilities": able}
    fake_ollama.on("GET /api/tags", json_answer({"models": [cloud, local]}))
    driver = drive().wait_text("one:1b")
    driver.manager.set_default("one:1b")
    driver.wait(lambda: "ollama-mark" in driver.text)
    table = driver.panel._model_list._table.value
    assert "3.2B · Q4_K_M" in table
    assert "384 B" not in table
    assert table.count('class="ollama-bar"') == 1
    assert ">tools<" in table
    assert ">completion<" not in table
    (rows,) = driver.all(widgets.ToggleButtons)
    about = dict(zip(rows.options, rows.tooltips, strict=True))
    assert about["big:cloud"].startswith("big:cloud, cloud")
    assert "5 B, 3.2B · Q4_K_M, tools, vision" in about["one:1b"]


def test_an_empty_server_offers_models_that_one_click_pulls(drive, fake_ollama):
    fake_ollama.models([])
    driver = drive().wait_text("No models yet")
    offered = [
        b for b in driver.all(widgets.Button) if b.description.startswith("Pull ")
    ]
    assert len(offered) == 4
    assert driver.text.count("of memory") == 4
    driver.click("Pull llama3.2").wait_text("pulled llama3.2")
    driver.wait(lambda: "of memory" not in driver.text)


def test_a_pulled_model_can_be_used_and_tried(drive, fake_ollama):
    driver = drive().wait_text("llama3.2:3b").pull("new:1b").wait_text("pulled new:1b")
    driver.click("Try it")
    assert "%%ollama new:1b" in driver.text
    driver.click("Close").click("Use")
    assert driver.chosen == ["new:1b"]


def test_a_load_shows_its_seconds_and_how_long_it_took_before(drive, fake_ollama):
    gate = threading.Event()
    fake_ollama.on("POST /api/generate", Answer([], hold_headers=gate))
    driver = drive({"name": "one:1b", "size": 19_000_000_000}, last_load_s=lambda _: 21)
    driver.wait_text("one:1b").select("one:1b").click("Load")
    driver.wait_text("loading 19 GB… 0 s · last time 21 s")
    driver.click("Cancel").wait_text("cancelled")


def test_models_with_an_update_are_marked_when_the_user_asks(drive, monkeypatch):
    updates = [ModelUpdate("one:1b", "outdated"), ModelUpdate("two:2b", "unknown")]
    monkeypatch.setattr(actions, "check_updates", lambda _: updates)
    driver = drive("one:1b", "two:2b").wait_text("two:2b")
    assert "update available" not in driver.text
    driver.click("Check for updates").wait_text("1 update available; 1 model could not")
    table = driver.panel._model_list._table
    driver.wait(lambda: table.value.count("update available") == 1)


def test_the_dropdown_sets_the_default_model(drive, fake_ollama):
    entries = [
        {"name": "chat:1b", "size": 2_000_000_000, "capabilities": ["completion"]},
        {"name": "vectors:1b", "capabilities": ["embedding"]},
        {"name": "tools:1b", "capabilities": ["completion", "tools"]},
    ]
    fake_ollama.on("GET /api/tags", json_answer({"models": entries}))
    driver = drive().wait_text("3 models")
    (dropdown,) = driver.all(widgets.Dropdown)
    assert dropdown.options == (
        "automatic: chat:1b",
        "chat:1b · 2.0 GB",
        "tools:1b · 0 B · tools",
    )
    dropdown.index = 2
    assert driver.chosen == ["tools:1b"]
    driver.wait(lambda: next(driver.all(widgets.Dropdown)).index == 1)
    assert "automatic: chat:1b" not in next(driver.all(widgets.Dropdown)).options
    assert driver.chosen == ["tools:1b"]


def test_a_refused_choice_is_said_and_the_dropdown_goes_back(drive):
    driver = drive("one:1b", "two:2b").wait_text("two:2b")

    def refuse(*_):
        raise RuntimeError("not this one")

    driver.panel._use = refuse
    driver.manager.set_default("one:1b")
    driver.wait(lambda: next(driver.all(widgets.Dropdown)).index == 0)
    next(driver.all(widgets.Dropdown)).index = 1
    driver.wait_text("not this one")
    driver.wait(lambda: next(driver.all(widgets.Dropdown)).index == 0)


def test_enter_confirms_the_name_of_a_copy_but_not_that_a_model_is_replaced(
    drive, fake_ollama
):
    driver = drive("one:1b", "two:2b").wait_text("two:2b").select("one:1b")
    name = driver.click("Copy…").text_box("name of the copy")
    name.value = "two:2b"
    for _ in range(3):
        driver.panel._dialogs._copy.enter()
    assert "would be replaced" in driver.text
    name.value = "three:3b"
    enter(name)
    driver.wait_text("copied one:1b to three:3b")
    assert [b["destination"] for b in fake_ollama.bodies("/api/copy")] == ["three:3b"]


ROW = TableRow(
    name="a",
    marks=("default",),
    is_default=True,
    size="1 B",
    size_share=0.5,
    memory="",
    gpu_share=None,
    capabilities=("tools",),
    parameters="7B · Q4",
    modified="today",
)


def test_the_table_has_a_header_for_each_row_and_column():
    html = model_table_html([ROW])
    assert html.count('scope="col"') == html.count("<td") + 1
    assert '<th scope="row"' in html
    assert ROW.text == "a, default, 1 B, 7B · Q4, tools, today"


def test_use_without_a_name_shows_the_dropdown_and_a_table(kernel, fake_ollama):
    fake_ollama.models(["one:1b", "two:2b"])
    ran = kernel.run("%ollama use")
    view, table = ran.outputs
    assert "application/vnd.jupyter.widget-view+json" in view["data"]
    assert "two:2b" in table["data"]["text/html"]
    kernel.run("choice = %ollama use\nchoice._picker.box.children[0].index = 2")
    ran = kernel.run("%%ollama\nHello")
    assert fake_ollama.bodies("/api/chat")[-1]["model"] == "two:2b"
    kernel.run("%config OllamaMagics.allow_cloud = False")
    fake_ollama.models(["one:1b", "big:cloud"])
    ran = kernel.run(
        "choice = %ollama use\nchoice._picker.box.children[0].index = 2\n"
        "print(choice._said.value)"
    )
    assert "is a cloud model" in ran.streams
    assert "allow_cloud is False" in ran.streams
