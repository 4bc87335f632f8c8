"""How soon a panel of a hundred models is there, in JupyterLab in a real Chromium.

``python benchmarks/panel.py`` prints a Markdown table: the time of the kernel, bytes
on the wire, and the time from the beginning of the cell to the frame in which the last
model is on the page. *One widget a cell* is what a table of ipywidgets costs when each
of its cells is a widget.
"""

import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import nbformat
from playwright.sync_api import Page, sync_playwright
from streaming_browser import jupyter_lab

SETUP = """
import json, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

def entry(n):
    details = {"parameter_size": "3.2B", "quantization_level": "Q4_K_M"}
    return {"name": f"model-{n:03}:latest", "digest": f"{n:064x}", "size": 10**9,
            "modified_at": "2026-11-01T10:00:00Z", "details": details,
            "capabilities": ["completion", "tools", "thinking"]}

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        answer = {"/api/version": {"version": "0.33.0"}, "/api/ps": {"models": []},
                  "/api/tags": {"models": [entry(n) for n in range(self.server.count)]}}
        body = json.dumps(answer[self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass

def serve(count):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.count = count
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"

import ipywidgets
from IPython.display import display
from ollama_magic import panel

def ours(count):
    return panel(serve(count))

def one_widget_a_cell(count):
    from ollama_magic import OllamaClient
    rows = []
    for m in OllamaClient(serve(count)).list():
        texts = [m.size_bytes, m.parameter_size, m.quantization_level, m.modified_at,
                 "", ", ".join(m.capabilities)]
        cells = [ipywidgets.Checkbox(description=m.name, indent=False)]
        cells += [ipywidgets.Label(str(text)) for text in texts]
        rows.append(ipywidgets.HBox(cells))
    return ipywidgets.VBox(rows)

def run(name, count, mark):
    began, cpu = time.time(), time.process_time()
    display(globals()[name](count))
    took = {"began": began, "cpu_s": time.process_time() - cpu}
    open(mark, "w").write(json.dumps(took))

display(ours(1))  # the front end loads its widgets now
"""
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
PLAN = (("ours", 10), ("ours", 100), ("one_widget_a_cell", 100))


def measure(page: Page, url: str, folder: str, name: str, count: int) -> dict:
    """Run one cell and return what it took."""
    mark = Path(folder) / f"{name}-{count}.json"
    cells = [SETUP, f"run({name!r}, {count}, {str(mark)!r})"]
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in cells]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["kernelspec"] = kernel
    file = f"{name}-{count}.ipynb"
    nbformat.write(notebook, Path(folder) / file)
    page.goto(f"{url}/lab/workspaces/{name}{count}/tree/{file}")
    editors = page.locator(".jp-CodeCell .cm-content")
    editors.nth(1).wait_for(timeout=90_000)
    page.wait_for_timeout(2500)
    editors.nth(0).click()
    page.keyboard.press("Shift+Enter")
    page.locator(".widget-checkbox").nth(1).wait_for(timeout=60_000)
    page.wait_for_timeout(2000)
    received = [0]
    devtools = page.context.new_cdp_session(page)
    devtools.send("Network.enable")
    devtools.on(
        "Network.webSocketFrameReceived",
        lambda event: received.append(len(event["response"]["payloadData"])),
    )
    page.evaluate(WATCH, f"model-{count - 1:03}:latest")
    editors.nth(1).click()
    page.keyboard.press("Control+Enter")
    page.wait_for_function("() => window.seen", timeout=60_000)
    while not mark.exists():
        time.sleep(0.1)
    took = json.loads(mark.read_text())
    first, last = page.evaluate("() => [window.first, window.seen]")
    return {
        "cpu": took["cpu_s"],
        "wire": sum(received) * 3 / 4,
        "first": first / 1000 - took["began"],
        "last": last / 1000 - took["began"],
    }


def main() -> None:
    """Print the table."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    print(
        "| panel | models | kernel CPU s | wire kB | first ten after s | all after s |"
    )
    print("|---|--:|--:|--:|--:|--:|")
    with (
        tempfile.TemporaryDirectory() as folder,
        jupyter_lab(folder) as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"]
        )
        for name, count in PLAN:
            page = browser.new_page(viewport={"width": 1100, "height": 1400})
            took = measure(page, url, folder, name, count)
            page.close()
            print(
                f"| {name.replace('_', ' ')} | {count} | {took['cpu']:.2f} "
                f"| {took['wire'] / 1000:.0f} | {took['first']:.2f} "
                f"| {took['last']:.2f} |"
            )


if __name__ == "__main__":
    main()
