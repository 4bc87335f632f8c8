"""How soon a panel of 300 models appears and filters, in a JupyterLab in Chromium.

Measured from the start of the cell to the frame that shows a screenful of models, and
to the frame that shows the last one; then from each key in the filter to the frame that
shows its result. The naive variant is a table with one ipywidget
per table cell.
"""

import json
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page

from benchmarks.lab import chromium, jupyter_lab, open_notebook, received_bytes
from benchmarks.server import ollama
from benchmarks.table import Row, Scale, interleaved

SETUP = """
import json, time
import ipywidgets
from IPython.display import display
from ollama_magic import OllamaClient, panel

def ours(url):
    return panel(url)

def one_widget_a_cell(url):
    rows = []
    for m in OllamaClient(url).list():
        texts = [m.size_bytes, m.parameter_size, m.quantization_level, m.modified_at,
                 "", ", ".join(m.capabilities)]
        cells = [ipywidgets.Checkbox(description=m.name, indent=False)]
        cells += [ipywidgets.Label(str(text)) for text in texts]
        rows.append(ipywidgets.HBox(cells))
    return ipywidgets.VBox(rows)

def run(name, url, mark):
    began, cpu = time.time(), time.process_time()
    display(globals()[name](url))
    took = {{"began": began, "cpu": time.process_time() - cpu}}
    open(mark, "w").write(json.dumps(took))

display(ours({warm!r}))  # the front end loads its widgets now
"""
MANY = 293  # and seven of the server's own
WATCH = """name => {
  window.seen = 0; window.first = 0;
  const all = '.jp-CodeCell :is(.ollama-rows button, .widget-checkbox)';
  window.start = document.querySelectorAll(all).length;
  const look = () => {
    const rows = document.querySelectorAll(all);
    const last = [...rows].find(b => b.innerText.trim() === name);
    if (!window.first && rows.length > window.start + 9) window.first = Date.now();
    if (last && last.offsetHeight) window.seen = Date.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""
FILTER = """count => {
  window.filtered = 0;
  const cell = [...document.querySelectorAll('.jp-CodeCell')][1];
  const field = cell.querySelector('input[placeholder="Filter by name"]');
  field.focus();
  field.addEventListener('input', () => {
    const began = performance.now();
    const look = () => {
      const rows = cell.querySelectorAll('.ollama-rows .widget-toggle-button');
      const table = cell.querySelectorAll('.ollama-models tbody tr');
      if (rows.length === count && table.length === count)
        window.filtered = performance.now() - began;
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  }, {once: true});
}"""
KEYS = (("9", 50), ("Backspace", MANY + 7))
"""What is typed, and how many models are shown then."""


def measure(page: Page, url: str, folder: str, name: str, servers: tuple[str, str]):
    """Run one cell in a new notebook and return what it took."""
    mark = Path(folder) / f"{name}.json"
    mark.unlink(missing_ok=True)
    warm, many = servers
    open_notebook(
        page,
        url,
        folder,
        [SETUP.format(warm=warm), f"run({name!r}, {many!r}, {str(mark)!r})"],
    )
    page.locator(".ollama-rows button").nth(1).wait_for(timeout=60_000)
    page.wait_for_timeout(2000)
    received = received_bytes(page)
    page.evaluate(WATCH, f"model-{MANY - 1:03}:latest")
    page.keyboard.press("Control+Enter")
    page.wait_for_function("() => window.seen", timeout=60_000)
    while not mark.exists():
        time.sleep(0.1)
    took = json.loads(mark.read_text())
    first, last = page.evaluate("() => [window.first, window.seen]")
    found = {
        "first": first / 1000 - took["began"],
        "last": last / 1000 - took["began"],
        "cpu": took["cpu"],
        "kB": sum(received) / 1000,
    }
    if name == "ours":
        found["filter"] = max(_filter(page, *key) for key in KEYS)
    return found


def _filter(page: Page, key: str, count: int) -> float:
    """Press a key in the filter, and return the ms until so many models are shown."""
    page.wait_for_timeout(1000)
    page.evaluate(FILTER, count)
    page.keyboard.press(key)
    page.wait_for_function("() => window.filtered", timeout=60_000)
    return float(page.evaluate("() => window.filtered"))


def rows(scale: Scale):
    with (
        tempfile.TemporaryDirectory() as folder,
        jupyter_lab(folder) as url,
        chromium() as browser,
        ollama() as few,
        ollama(MANY) as many,
    ):

        def way(name):
            page = browser.new_page(viewport={"width": 1100, "height": 1400})
            took = measure(page, url, folder, name, (few, many))
            page.close()
            return took

        taken = interleaved(scale.runs(5), {"ours": lambda: way("ours")})["ours"]
        naive = interleaved(1, {"naive": lambda: way("one_widget_a_cell")})["naive"]
    for key, what, target in (
        ("first", "the first screenful, s", "0.3"),
        ("last", "all of them, s", "1"),
        ("filter", "the slower key in the filter, ms", "100"),
        ("cpu", "kernel CPU s", ""),
        ("kB", "kB on the wire", ""),
    ):
        yield Row(
            f"panel of 300 models, {what} (naive: a widget a cell)",
            taken[key],
            target,
            naive=naive.get(key, ()),
            digits=0 if key in {"kB", "filter"} else 2,
        )
