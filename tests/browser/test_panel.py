"""The panel in real JupyterLab and Notebook 7."""

import re
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


LEFTS = """row => [...row.children]
    .filter(one => getComputedStyle(one).display !== 'none')
    .map(one => one.getBoundingClientRect().left)"""


class Panel:
    """The panel in the output of the second cell."""

    def __init__(self, page, number=1):
        self.page = page
        self.box = page.cell(number).locator(".jp-OutputArea")
        self.rows = self.box.locator(".ollama-rows")
        self.list = self.box.locator(".ollama-list")

    def button(self, name):
        return self.box.get_by_role("button", name=name, exact=True)

    def model(self, name):
        """Return the button that lies over the row of a model."""
        box = r"[☐☑]?\s*"  # while several are selected
        named = re.compile(rf"^{box}{re.escape(name)}$")
        return self.rows.get_by_role("button", name=named)

    def shows(self, text):
        expect(self.box).to_contain_text(text, timeout=WAIT_MS)

    def does_not_show(self, text):
        expect(self.box).not_to_contain_text(text, timeout=WAIT_MS)

    def has(self, *names):
        for name in names:
            expect(self.model(name)).to_be_visible(timeout=WAIT_MS)

    def does_not_have(self, name):
        expect(self.model(name)).to_have_count(0, timeout=WAIT_MS)

    def choose(self, name):
        """Choose the default model in the dropdown."""
        dropdown = self.box.get_by_label("Default model")
        option = dropdown.locator("option", has_text=name)
        dropdown.select_option(option.get_attribute("value", timeout=WAIT_MS))

    def pull(self, name):
        self.box.get_by_placeholder("name of a model").fill(name)
        self.page.page.keyboard.press("Enter")


@pytest.fixture
def panel(open_notebook, jupyter, fake_ollama, app, request):
    """Open a notebook with a panel in its second cell."""

    def open_(*sources, alone=False):
        name = f"{request.node.name}.ipynb".replace("[", "-").replace("]", "")
        cells = [SETUP.format(url=fake_ollama.url), "%ollama panel", *sources]
        page = open_notebook(jupyter.write_notebook(name, cells), app, alone=alone)
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

    seen.model("one:1b").click()
    seen.button("Copy…").click()
    expect(seen.box.get_by_placeholder("name of the copy")).to_be_focused()
    seen.page.page.keyboard.type("mine")
    seen.page.page.keyboard.press("Enter")
    seen.shows("copied one:1b to mine")

    seen.choose("mine:latest")
    expect(seen.box.locator(".ollama-default")).to_contain_text("mine:latest")

    seen.button("Select several").click()
    seen.model("two:2b").click()
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
    assert seen.page.output(1).count() == 2
    expect(seen.page.output(1).nth(1)).to_be_hidden()
    seen.page.restart()
    seen.page.run_to_end(2)
    seen.page.wait_text(2, "still here")
    seen.shows("The kernel has ended or was restarted. Run %ollama panel again.")
    visible = seen.box.locator("tbody th", has_text="llama3.2:3b").first
    expect(visible).to_be_visible()
    expect(seen.button("Refresh")).to_be_hidden()
    icons = "e => getComputedStyle(e, '::before').content"
    dead = seen.box.locator(".jupyter-widgets-disconnected").all()
    assert {one.evaluate(icons) for one in dead} == {"none"}
    seen.page.screenshot("panel-restarted")
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
    seen.model(evil).click()
    expect(other.button("Delete…")).to_be_visible(timeout=WAIT_MS)
    seen.button("Delete…").click()
    other.shows("Delete 1 model?")
    assert seen.box.locator("img, script").count() == 0
    assert "EVIL" not in seen.page.page.title()


def test_names_and_figures_scroll_together_under_a_header_that_stays(
    panel, fake_ollama
):
    """The wheel scrolls to the last of 60 models and its row, at any width."""
    long = "hf.co/somebody/A-Long-Name-Instruct-GGUF"
    names = [f"model-{n:02}:1b" if n % 2 else f"{long}:Q{n}" for n in range(60)]
    fake_ollama.models([entry(name, number=n) for n, name in enumerate(names)])
    seen = panel()
    buttons = seen.rows.locator(".widget-toggle-button")
    rows, head = seen.rows.locator("tbody tr"), seen.list.locator(".ollama-head")
    expect(buttons).to_have_count(60, timeout=WAIT_MS)
    expect(rows).to_have_count(60, timeout=WAIT_MS)
    seen.page.command("application:toggle-left-area")  # the files take 250 px
    for width, columns in ((1280, 6), (700, 4)):
        seen.page.page.set_viewport_size({"width": width, "height": 1200})
        expect(head.locator("button:visible")).to_have_count(columns)
        for one in (seen.list, seen.box):
            assert one.evaluate("e => e.scrollWidth <= e.clientWidth")
        place = buttons.nth(3).bounding_box()
        seen.page.page.mouse.move(place["x"] + 20, place["y"] + 10)
        seen.page.page.mouse.wheel(0, 10_000)
        expect(buttons.nth(59)).to_be_in_viewport(ratio=0.9, timeout=WAIT_MS)
        expect(rows.nth(59)).to_be_in_viewport(timeout=WAIT_MS)
        for number in (45, 59):
            button, row = buttons.nth(number), rows.nth(number)
            name, figures = row.locator("th"), row.locator("td").first
            places = [e.bounding_box() for e in (button, name, row, figures)]
            middles = [place["y"] + place["height"] / 2 for place in places]
            assert max(middles) - min(middles) < 2
        places = zip(head.evaluate(LEFTS), rows.nth(59).evaluate(LEFTS), strict=True)
        assert max(abs(one - other) for one, other in places) < 2
        area = seen.list.bounding_box()
        assert area["y"] <= head.bounding_box()["y"] <= area["y"] + 2
        seen.page.screenshot(f"panel-scrolled-{width}")
        seen.page.page.mouse.wheel(0, -10_000)
        expect(buttons.nth(3)).to_be_in_viewport(ratio=0.9, timeout=WAIT_MS)
    seen.page.command("application:toggle-left-area")


def test_the_keyboard_alone_is_enough_and_all_controls_have_a_name(panel, fake_ollama):
    fake_ollama.models([entry(f"model-{n:02}:1b", number=n) for n in range(30)])
    seen = panel()
    seen.has("model-29:1b")
    key = seen.page.page.keyboard.press
    for control in seen.box.locator("button, input, select").all():
        if control.is_visible():
            name = control.evaluate(
                "e => e.innerText || e.title || e.placeholder || e.ariaLabel"
                " || [...(e.labels || [])].map(l => l.innerText).join()"
                " || e.closest('label, .widget-inline-hbox')?.innerText"
            )
            assert name, control.evaluate("e => e.outerHTML")
    seen.box.get_by_placeholder("Filter by name").focus()
    columns = seen.list.locator(".ollama-head button:visible").count()
    for _ in range(1 + columns + 20):  # Select several, the columns, twenty models
        key("Tab")
    twentieth = seen.rows.locator(".widget-toggle-button").nth(19)
    expect(twentieth).to_be_focused()
    expect(twentieth).to_be_in_viewport(ratio=0.9)
    key("Enter")
    expect(seen.button("Use")).to_be_focused(timeout=WAIT_MS)
    for _ in range(4):
        key("Tab")
    expect(seen.button("Delete…")).to_be_focused()
    key("Enter")
    seen.shows("Delete 1 model?")
    expect(seen.button("Cancel")).to_be_in_viewport()
    key("Enter")  # never a confirmation
    key("Tab")
    expect(seen.button("Cancel")).to_be_focused()
    key("Enter")
    seen.does_not_show("Delete 1 model?")
    assert len(fake_ollama.model_names) == 30


def test_a_reopened_notebook_shows_the_table_and_no_error(panel):
    seen = panel(alone=True)  # a page that is loaded again opens its documents again
    seen.has("llama3.2:3b")
    page = seen.page.page
    seen.page.save()
    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.reload()
    table = seen.page.output(1).nth(1)
    expect(table).to_contain_text(
        "To open it again, run %ollama panel", timeout=WAIT_MS
    )
    expect(table.locator("td", has_text="llama3.2:3b")).to_be_visible()
    expect(seen.page.cell(1).get_by_text("Error displaying widget")).to_be_hidden()
    seen.page.screenshot("panel-reopened")
