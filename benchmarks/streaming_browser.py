"""What a streamed reply costs a reader in JupyterLab, in a real Chromium.

``python benchmarks/streaming_browser.py [DISPLAY:TOKENS ...]`` starts a JupyterLab,
runs one cell for each display in real time and prints a Markdown table. Environment:
``CHROMIUM`` (else the one on the path), ``SHOTS`` (a folder for screenshots).

CPU is that of the page's main thread, over the whole run, until nothing has changed
for three seconds; *late* is from the last token to the last change of the page; *drop*
is the largest loss of height of the outputs between two frames.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from playwright.sync_api import CDPSession, Page, sync_playwright

HERE = str(Path(__file__).parent)
RATE = 100
PLAN = ("idle:4000", "ours:4000", "naive, 20 Hz:4000", "ours:16000")
SETUP = """
import json, sys, time
sys.path.insert(0, {here!r})
from streaming_displays import run
run("ours", 50, 1000, is_real_time=False)
from IPython.display import clear_output; clear_output()
"""
CELL = """
result = run({name!r}, {count}, {rate}, is_real_time=True)
open({mark!r}, "w").write(json.dumps(result | {{"cpu_s": time.process_time()}}))
"""
IDLE = """
time.sleep({seconds})
open({mark!r}, "w").write(json.dumps({{"last_token_at": time.time(), "bytes": 1}}))
"""
WATCH = """() => {
  const cell = document.querySelectorAll('.jp-CodeCell')[1];
  const seen = {last: 0, drop: 0, long: 0, longest: 0, most: 0, drops: []};
  window.seen = seen;
  new PerformanceObserver(list => list.getEntries().forEach(task => {
    seen.long += 1; seen.longest = Math.max(seen.longest, task.duration);
  })).observe({type: 'longtask'});
  new MutationObserver(changes => {
    if (changes.some(c => c.target.closest?.('.jp-OutputArea'))) seen.last = Date.now();
  }).observe(cell, {childList: true, subtree: true, characterData: true});
  const outputs = cell.getElementsByClassName('jp-OutputArea-child');
  let before = 0;
  const frame = () => {
    const height = cell.querySelector('.jp-OutputArea')?.offsetHeight ?? 0;
    if (height < before - 8) seen.drops.push([before, height, Date.now()]);
    seen.drop = Math.max(seen.drop, before - height);
    before = height;
    seen.most = Math.max(seen.most, outputs.length);
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}"""
SELECT = """() => {
  const cell = document.querySelectorAll('.jp-CodeCell')[1];
  const paragraph = [...cell.querySelectorAll('p')].find(p => p.innerText.length > 40);
  getSelection().selectAllChildren(paragraph);
  window.selected = getSelection().toString();
}"""
IS_SELECTED = """() => getSelection().toString() === window.selected
  && window.selected.length > 0"""
IS_READY = """() => /\\[1\\]/.test(
  document.querySelector('.jp-CodeCell .jp-InputPrompt')?.textContent ?? '')"""


@contextmanager
def jupyter_lab(folder: str) -> Iterator[str]:
    """Run a JupyterLab that has a folder; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"),
        *("--ip=127.0.0.1", f"--port={port}", "--IdentityProvider.token="),
        f"--ServerApp.root_dir={folder}",
    ]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{url}/api/status", timeout=1).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        yield url
    finally:
        server.terminate()
        server.wait(20)


def open_notebook(page: Page, url: str, folder: str, name: str, cell: str) -> None:
    """Show a notebook with a set-up cell that has run, and the cell to measure."""
    cells = [SETUP.format(here=HERE), cell, "# the next cell"]
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in cells]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["kernelspec"] = kernel
    nbformat.write(notebook, Path(folder) / name)
    page.goto(f"{url}/lab/workspaces/{Path(name).stem}/tree/{name}")
    editors = page.locator(".jp-CodeCell .cm-content")
    editors.nth(1).wait_for(timeout=90_000)
    page.wait_for_timeout(2500)
    editors.nth(0).click()
    page.keyboard.press("Shift+Enter")
    page.wait_for_function(IS_READY, timeout=60_000)
    page.wait_for_timeout(1500)
    editors.nth(1).click()


def cpu_s(devtools: CDPSession) -> float:
    """Return the seconds that the page's main thread has worked."""
    metrics = devtools.send("Performance.getMetrics")["metrics"]
    return {m["name"]: m["value"] for m in metrics}["TaskDuration"]


def measure(page: Page, seconds: float, mark: Path, shot: str) -> dict[str, object]:
    """Run the cell that is open and watch it to its end."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    received = [0]
    devtools.send("Network.enable")
    devtools.on(
        "Network.webSocketFrameReceived",
        lambda event: received.append(len(event["response"]["payloadData"])),
    )
    page.evaluate(WATCH)
    before_s = cpu_s(devtools)
    page.keyboard.press("Control+Enter")
    page.wait_for_timeout(seconds * 300)
    is_selected = None
    if page.locator(".jp-CodeCell").nth(1).locator("p").count():
        page.evaluate(SELECT)
        page.wait_for_timeout(1200)
        is_selected = page.evaluate(IS_SELECTED)
    if shot:
        page.wait_for_timeout(seconds * 200)
        page.screenshot(path=f"{shot}-live.png")
    deadline = time.time() + 6 * seconds + 60
    while time.time() < deadline:
        page.wait_for_timeout(250)
        quiet_ms = page.evaluate("() => Date.now() - window.seen.last")
        if mark.exists() and quiet_ms > 3000:
            break
    seen = page.evaluate("() => window.seen")
    if shot:
        page.screenshot(path=f"{shot}-end.png")
    result = json.loads(mark.read_text())
    late_s = seen["last"] / 1000 - result["last_token_at"]
    cpu = cpu_s(devtools) - before_s
    # Text frames are base64 only when binary: four characters for three bytes.
    wire = sum(received) * 3 / 4
    return seen | {"cpu_s": cpu, "late_s": late_s, "wire": wire, "kept": is_selected}


def main() -> None:
    plan = sys.argv[1:] or PLAN
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    shots = os.environ.get("SHOTS", "")
    print("| display | tokens | wire MB | browser CPU s | late s | drop px ", end="")
    print("| long tasks (longest ms) | outputs | selection kept |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder, jupyter_lab(folder) as url:
        for number, entry in enumerate(plan):
            name, count = entry.rsplit(":", 1)
            mark, seconds = Path(folder) / f"mark{number}", int(count) / RATE
            cell = (IDLE if name == "idle" else CELL).format(
                name=name, count=int(count), rate=RATE, mark=str(mark), seconds=seconds
            )
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=chromium, args=["--no-sandbox"]
                )
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                open_notebook(page, url, folder, f"run{number}.ipynb", cell)
                shot = f"{shots}/{name.split(',')[0]}-{count}" if shots else ""
                row = measure(page, seconds, mark, shot)
                browser.close()
            print(
                f"| {name} | {count} | {row['wire'] / 1e6:.2f} | {row['cpu_s']:.1f} | "
                f"{row['late_s']:.2f} | {row['drop']} | {row['long']} "
                f"({row['longest']:.0f}) | {row['most']} | {row['kept']} |",
                flush=True,
            )
            if row["drops"]:
                print(f"  drops of {name}: {row['drops']}", file=sys.stderr)


if __name__ == "__main__":
    main()
