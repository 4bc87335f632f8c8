"""How soon a panel of a hundred models appears, in JupyterLab in a real Chromium.

Measured from the start of the cell to the frame that shows a screenful of models, and
to the frame that shows the last one. The naive variant is a table with one ipywidget
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
MANY = 93  # and seven of the server's own
WATCH = """name => {
  window.seen = 0; window.first = 0;
  const all = '.jp-CodeCell .widget-checkbox';
  window.start = document.querySelectorAll(all).length;
  const look = () => {
    const boxes = document.querySelectorAll('.jp-CodeCell .widget-checkbox');
    const last = [...boxes].find(b => b.innerText.trim() === name);
    if (!window.first && boxes.length > window.start + 9) window.first = Date.now();
    if (last && last.offsetHeight) window.seen = Date.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""


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
    page.locator(".widget-checkbox").nth(1).wait_for(timeout=60_000)
    page.wait_for_timeout(2000)
    received = received_bytes(page)
    page.evaluate(WATCH, f"model-{MANY - 1:03}:latest")
    page.keyboard.press("Control+Enter")
    page.wait_for_function("() => window.seen", timeout=60_000)
    while not mark.exists():
        time.sleep(0.1)
    took = json.loads(mark.read_text())
    first, last = page.evaluate("() => [window.first, window.seen]")
    return {
        "first": first / 1000 - took["began"],
        "last": last / 1000 - took["began"],
        "cpu": took["cpu"],
        "kB": sum(received) / 1000,
    }


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
        ("last", "all of them, s", ""),
        ("cpu", "kernel CPU s", ""),
        ("kB", "kB on the wire", ""),
    ):
        digits = 0 if key == "kB" else 2
        yield Row(
            f"panel of 100 models, {what} (naive: a widget a cell)",
            taken[key],
            target,
            naive=naive[key],
            digits=digits,
        )
