"""The cost of a streamed reply in the reader's JupyterLab, in a real Chromium.

One cell for each display, in real time. CPU is that of the page's main thread over the
whole run, until nothing has changed for three seconds; *late* is the time from the last
token to the last change of the page; *drop* is the largest loss of height of the
outputs between two frames. ``SHOTS`` names a folder for screenshots.
"""

import json
import os
import tempfile
import time
from pathlib import Path

from playwright.sync_api import CDPSession, Page

from benchmarks.lab import chromium, jupyter_lab, open_notebook, received_bytes
from benchmarks.reply_corpus import tokens
from benchmarks.table import Row, Scale, interleaved

RATE = 100
SETUP = """
import json, time
from benchmarks.streaming_displays import run
run("ours", 50, 1000, is_real_time=False)
from IPython.display import clear_output; clear_output()
"""
CELL = """
result = run({name!r}, {count}, {rate}, is_real_time=True)
open({mark!r}, "w").write(json.dumps(result))
"""
IDLE = """
time.sleep({seconds})
open({mark!r}, "w").write(json.dumps({{"last_token_at": time.time()}}))
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


def cpu_s(devtools: CDPSession) -> float:
    """Return the seconds that the page's main thread has worked."""
    metrics = devtools.send("Performance.getMetrics")["metrics"]
    return {m["name"]: m["value"] for m in metrics}["TaskDuration"]


def measure(page: Page, seconds: float, mark: Path, shot: str) -> dict[str, float]:
    """Run the cell that is open and watch it to its end."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    received = received_bytes(page)
    page.evaluate(WATCH)
    before_s = cpu_s(devtools)
    page.keyboard.press("Control+Enter")
    page.wait_for_timeout(seconds * 300)
    is_selected = False
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
    late_s = seen["last"] / 1000 - json.loads(mark.read_text())["last_token_at"]
    measured = {"cpu": cpu_s(devtools) - before_s, "late": late_s}
    counted = {key: seen[key] for key in ("drop", "long", "longest", "most")}
    return measured | counted | {"MB": sum(received) / 1e6, "kept": is_selected}


def run(url: str, folder: str, name: str, count: int) -> dict[str, float]:
    """Run one display in a browser of its own."""
    mark, seconds = Path(folder) / "mark.json", count / RATE
    mark.unlink(missing_ok=True)
    cell = (IDLE if name == "idle" else CELL).format(
        name=name, count=count, rate=RATE, mark=str(mark), seconds=seconds
    )
    shots = os.environ.get("SHOTS")
    shot = f"{shots}/{name.split(',', maxsplit=1)[0]}-{count}" if shots else ""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        open_notebook(page, url, folder, [SETUP, cell, "# the next cell"])
        return measure(page, seconds, mark, shot)


FIGURES = (
    ("cpu", "browser CPU s (limit: idle)", "10", 1),
    ("late", "last paint after the last token, s", "0.5", 2),
    ("drop", "largest loss of height, px", "60", 0),
    ("longest", "longest task, ms", "", 0),
    ("most", "live outputs at most", "50", 0),
    ("kept", "a selection is kept (1: yes)", "1", 0),
    ("MB", "MB to the browser (limit: the reply once)", "0.8", 2),
)


def rows(scale: Scale):
    short, count, long = (250, 1000, 0) if scale.is_quick else (1000, 4000, 16_000)
    with tempfile.TemporaryDirectory() as folder, jupyter_lab(folder) as url:

        def taken(runs, tokens, *names):
            ways = {n: lambda n=n: run(url, folder, n, tokens) for n in names}
            return interleaved(runs, ways)

        # At 4,000 tokens a browser needs minutes for a paint at every token.
        yield from _rows(short, taken(1, short, "ours", "naive, every token", "idle"))
        once = taken(1, count, "naive, 20 Hz", "idle")
        yield from _rows(count, taken(scale.runs(2), count, "ours") | once, True)
        if long:
            yield from _rows(long, taken(1, long, "ours"))


def _rows(count, taken, has_targets=False):
    size = len("".join(tokens(count)).encode()) / 1e6
    for key, what, target, digits in FIGURES:
        if "naive, every token" in taken and key not in {"cpu", "late", "MB"}:
            continue  # a short reply is one output, which is drawn until its end
        limit = [size] if key == "MB" else []
        if key == "cpu" and "idle" in taken:
            limit = taken["idle"][key]
        yield Row(
            f"in JupyterLab, {count:,} tokens: {what}",
            taken["ours"][key],
            target if has_targets or key in {"late", "most", "kept"} else "",
            naive=taken.get("naive, 20 Hz", {}).get(key, ()),
            every_token=taken.get("naive, every token", {}).get(key, ()),
            limit=limit,
            digits=digits,
        )
