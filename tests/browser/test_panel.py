"""The panel in real JupyterLab and Notebook 7."""

import threading

import pytest
from fake_ollama import Answer, Wait, error
from playwright.sync_api import expect

WAIT_MS = 90_000

SETUP = """\
%load_ext ollama_magic
%config OllamaMagics.host = {url!r}"""


def entry(name, size=1_000_000_000, number=0):
    return {"name": name, "size": size, "digest": f"{number:064x}"}


def layer(completed, total=1_000_000_000):
    return {
        "status": "pulling 9077fe9d2ae1",
        "digest": "sha256:a",
        "total": total,
        "completed": completed,
    }


class Panel:
    """The panel in the output of the second cell."""

    def __init__(self, page, number=1):
        self.page = page
        self.box = page.cell(number).locator(".jp-OutputArea")

    def button(self, name):
        return self.box.get_by_role("button", name=name, exact=True)

    def model(self, name):
        return self.box.get_by_label(name, exact=True)

    def shows(self, text):
        expect(self.box).to_contain_text(text, timeout=WAIT_MS)

    def does_not_show(self, text):
        expect(self.box).not_to_contain_text(text, timeout=WAIT_MS)

    def has(self, *names):
        for name in names:
            expect(self.model(name)).to_be_visible(timeout=WAIT_MS)

    def does_not_have(self, name):
        expect(self.model(name)).to_have_count(0, timeout=WAIT_MS)

    def pull(self, name):
        self.box.get_by_placeholder("name of a model").fill(name)
        self.page.page.keyboard.press("Enter")


@pytest.fixture
def panel(open_notebook, jupyter, fake_ollama, app, request):
    """Open a notebook with a panel in its second cell."""

    def open_(*sources):
        name = f"{request.node.name}.ipynb".replace("[", "-").replace("]", "")
        cells = [SETUP.format(url=fake_ollama.url), "%ollama panel", *sources]
        page = open_notebook(jupyter.write_notebook(name, cells), app)
        page.run_to_end(0)
        page.run_to_end(1)
        return Panel(page)

    return open_


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_models_are_managed_with_clicks(panel, fake_ollama):
    """List, filter, cancel a pull, pull, copy, cancel a deletion, delete."""
    gate = threading.Event()
    models = [("one:1b", 2_000_000_000), ("two:2b", 500_000_000)]
    fake_ollama.models([entry(n, s, i) for i, (n, s) in enumerate(models)])
    seen = panel("6 * 7")
    seen.has("one:1b", "two:2b")
    seen.shows("2 models, 2.5 GB on disk")

    seen.box.get_by_placeholder("Filter by name").fill("two")
    seen.does_not_have("one:1b")
    seen.box.get_by_placeholder("Filter by name").fill("")
    seen.has("one:1b")

    fake_ollama.on("POST /api/pull", Answer([layer(250_000_000), Wait(gate)]))
    seen.pull("big:70b")
    seen.shows("250 MB of 1.0 GB")
    seen.page.run_to_end(2)  # the kernel is free
    seen.page.wait_text(2, "42")
    seen.page.screenshot(f"panel-pull-{seen.page.app}")
    seen.button("Cancel").click()
    seen.shows("cancelled at 250 MB")
    assert fake_ollama.wait_for("/api/pull").wait_closed(10)
    seen.button("Dismiss").click()
    seen.does_not_show("cancelled at")

    fake_ollama.on("POST /api/pull")
    seen.pull("new:1b")
    seen.has("new:1b")
    seen.shows("pulled new:1b")

    seen.model("one:1b").check()
    seen.button("Copy…").click()
    seen.box.get_by_placeholder("name of the copy").fill("mine")
    seen.button("Copy").click()
    seen.shows("copied one:1b to mine")

    seen.model("two:2b").check()
    seen.button("Delete 2…").click()
    seen.shows("Delete 2 models? This can't be undone.")
    seen.page.screenshot(f"panel-delete-{seen.page.app}")
    seen.button("Cancel").click()
    seen.does_not_show("Delete 2 models?")
    assert "two:2b" in fake_ollama.model_names
    seen.button("Delete 2…").click()
    seen.button("Delete 2 models").click()
    seen.does_not_have("two:2b")
    seen.does_not_have("one:1b")


def test_the_panel_survives_a_server_outage_and_a_kernel_restart(panel, fake_ollama):
    seen = panel("print('still here')")
    seen.has("llama3.2:3b")
    fake_ollama.on("GET /api/tags", error(503, "starting up"))
    seen.button("Refresh").click()
    seen.shows("starting up")
    seen.shows("%ollama serve")
    seen.page.screenshot(f"panel-offline-{seen.page.app}")
    fake_ollama.on("GET /api/tags")  # as usual again
    seen.button("Refresh").click()
    seen.has("llama3.2:3b")
    seen.page.restart()
    seen.page.run_to_end(2)
    seen.page.wait_text(2, "still here")
    for number in (0, 1):
        seen.page.run_to_end(number)
    seen.has("llama3.2:3b")


def test_markup_in_names_is_text_and_two_views_agree(panel, fake_ollama):
    evil = "<img src=x onerror=\"document.title='EVIL'\">:1b"
    fake_ollama.models([entry(evil), entry("<script>alert(1)</script>", number=1)])
    seen = panel("%ollama panel")
    seen.has(evil)
    seen.page.run_to_end(2)
    other = Panel(seen.page, 2)
    other.has(evil)
    seen.model(evil).check()
    expect(other.model(evil)).to_be_checked(timeout=WAIT_MS)
    seen.button("Delete…").click()
    other.shows("Delete 1 model?")
    assert seen.box.locator("img, script").count() == 0
    assert "EVIL" not in seen.page.page.title()


def test_a_hundred_models_are_listed(panel, fake_ollama):
    """``benchmarks/panel.py`` measures the time; this checks that all are there."""
    fake_ollama.models([entry(f"model-{n:03}:1b", number=n) for n in range(100)])
    seen = panel()
    seen.has("model-000:1b", "model-099:1b")
    names = seen.box.locator(".widget-checkbox")
    expect(names).to_have_count(101, timeout=WAIT_MS)
    table = seen.box.locator("tbody tr")
    expect(table).to_have_count(100)
    first, last = names.nth(1).bounding_box(), names.nth(100).bounding_box()
    top, bottom = table.nth(0).bounding_box(), table.nth(99).bounding_box()
    assert abs(first["y"] - top["y"]) < 6  # a name is beside its row
    assert abs(last["y"] - bottom["y"]) < 6


def test_names_and_figures_scroll_together(panel, fake_ollama):
    """The wheel over either scrolls to the last of 60 models and its row."""
    fake_ollama.models([entry(f"model-{n:02}:1b", number=n) for n in range(60)])
    seen = panel()
    names, rows = seen.box.locator(".widget-checkbox"), seen.box.locator("tbody tr")
    expect(names).to_have_count(61, timeout=WAIT_MS)
    expect(rows).to_have_count(60, timeout=WAIT_MS)
    for over in (names, rows):
        place = over.nth(3).bounding_box()
        seen.page.page.mouse.move(place["x"] + 20, place["y"] + 10)
        seen.page.page.mouse.wheel(0, 10_000)
        expect(names.nth(60)).to_be_in_viewport(ratio=0.9, timeout=WAIT_MS)
        expect(rows.nth(59)).to_be_in_viewport(timeout=WAIT_MS)
        name, row = names.nth(60).bounding_box(), rows.nth(59).bounding_box()
        assert abs(name["y"] - row["y"]) < 6
        assert name["y"] < place["y"] + 440
        seen.page.screenshot(f"panel-scrolled-{seen.page.app}")
        seen.page.page.mouse.wheel(0, -10_000)
        expect(names.nth(3)).to_be_in_viewport(ratio=0.9, timeout=WAIT_MS)


def test_all_controls_have_a_name_and_are_reachable_by_keyboard(panel, fake_ollama):
    seen = panel()
    seen.has("llama3.2:3b")
    for control in seen.box.locator("button, input, select").all():
        if control.is_visible():
            name = control.evaluate(
                "e => e.innerText || e.title || e.placeholder || e.ariaLabel"
                " || [...(e.labels || [])].map(l => l.innerText).join()"
                " || e.closest('label, .widget-inline-hbox')?.innerText"
            )
            assert name, control.evaluate("e => e.outerHTML")
    seen.model("llama3.2:3b").focus()
    seen.page.page.keyboard.press("Space")
    expect(seen.button("Delete…")).to_be_enabled(timeout=WAIT_MS)
    seen.button("Delete…").focus()
    seen.page.page.keyboard.press("Enter")
    seen.shows("Delete 1 model?")
    assert fake_ollama.model_names == ["llama3.2:3b"]


def test_rows_line_up_with_names_at_any_width(panel, fake_ollama):
    fake_ollama.models(
        [entry(f"a-rather-long-name-{n}:1b", number=n) for n in range(5)]
    )
    seen = panel()
    seen.page.page.set_viewport_size({"width": 600, "height": 900})
    seen.has("a-rather-long-name-4:1b")
    name = seen.box.locator(".widget-checkbox").nth(5).bounding_box()
    row = seen.box.locator("tbody tr").nth(4).bounding_box()
    assert abs(name["y"] - row["y"]) < 6
    seen.page.screenshot("panel-narrow")
