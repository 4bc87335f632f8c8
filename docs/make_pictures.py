"""Take the README's pictures: a real JupyterLab, a real Chromium, a real answer.

``python docs/make_pictures.py`` needs the extra ``test`` and a Chromium. The model is
that of the embedded engine; what it writes is not edited.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from io import BytesIO
from pathlib import Path

import nbformat
from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
SIZE = {"width": 900, "height": 640}
CELLS = [
    "%load_ext ollama_magic\n%ollama serve",
    "word = 'notebook'",
    "%%ollama -x -t 0 -o num_predict 110\n"
    "Write a Python function that reverses a string like {{ word }}.\n"
    "Show how it is called.",
    "%ollama history",
]
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
RUN_ONE = "notebook:run-cell-and-select-next"
FRAME_S = 0.15
IDLE = """() => jupyterapp.shell.currentWidget
    && jupyterapp.shell.currentWidget.sessionContext.kernelDisplayStatus === 'idle'"""


def main() -> None:
    """Write ``docs/images/answer.gif``."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        root = Path(folder)
        notebook = nbformat.v4.new_notebook()
        notebook.cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
        notebook.metadata["kernelspec"] = KERNEL
        nbformat.write(notebook, root / "demo.ipynb")
        with start_server(root) as process:
            try:
                url = wait_for_url(root)
                browser = playwright.chromium.launch(
                    executable_path=os.environ.get("CHROMIUM")
                    or shutil.which("chromium"),
                    args=["--no-sandbox", "--disable-gpu"],
                )
                page = browser.new_page(viewport=SIZE, device_scale_factor=1)
                page.goto(f"{url}/lab/tree/demo.ipynb")
                save(record(page), IMAGES / "answer.gif")
                browser.close()
            finally:
                process.terminate()


def start_server(root: Path) -> subprocess.Popen[bytes]:
    """Start JupyterLab with nothing of the user's own."""
    settings = root / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    env = os.environ | {
        "JUPYTERLAB_SETTINGS_DIR": str(root / "settings"),
        "JUPYTER_RUNTIME_DIR": str(root / "runtime"),
        "JUPYTER_CONFIG_DIR": str(root / "config"),
        "OLLAMA_HOST": "127.0.0.1:9",
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--IdentityProvider.token=", f"--ServerApp.root_dir={root}"]
    command += ["--ServerApp.port=0", "--LabApp.expose_app_in_browser=True"]
    log = (root / "log.txt").open("w")
    return subprocess.Popen(command, env=env, stdout=log, stderr=log)


def wait_for_url(root: Path) -> str:
    """Return the address of the server once it answers."""
    while True:
        for info in (root / "runtime").glob("jpserver-*.json"):
            url = str(json.loads(info.read_text())["url"]).rstrip("/")
            urllib.request.urlopen(f"{url}/api").close()
            return url
        time.sleep(0.1)


def record(page: Page) -> list[Image.Image]:
    """Run the notebook and return what was seen, frame by frame."""
    page.locator(".jp-CodeCell").nth(len(CELLS) - 1).wait_for(timeout=60_000)
    page.wait_for_function(IDLE, timeout=60_000)
    for command in ("application:toggle-left-area", RUN_ONE):
        page.evaluate("name => { jupyterapp.commands.execute(name); }", command)
    page.get_by_text("embedded engine").wait_for(timeout=120_000)
    page.wait_for_function(IDLE, timeout=60_000)
    frames = [shot(page)]
    page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-below'); }")
    last = page.locator(".jp-OutputArea-output", has_text="Write a Python")
    while not last.count():
        frames.append(shot(page))
        page.wait_for_timeout(FRAME_S * 1000)
    page.wait_for_timeout(500)
    return [*frames, shot(page)]


def shot(page: Page) -> Image.Image:
    """Return the notebook as it is seen now."""
    return Image.open(BytesIO(page.screenshot())).convert("RGB")


def save(frames: list[Image.Image], path: Path) -> None:
    """Write an animation that stays at its end for a while."""
    kept = [frames[0]]
    times = [FRAME_S]
    for frame in frames[1:]:
        if frame.tobytes() == kept[-1].tobytes():
            times[-1] += FRAME_S
        else:
            kept.append(frame)
            times.append(FRAME_S)
    times[-1] = 6
    palette = kept[-1].quantize(48)
    first, *rest = [frame.quantize(palette=palette, dither=0) for frame in kept]
    first.save(
        path,
        save_all=True,
        append_images=rest,
        duration=[min(int(t * 1000), 6000) for t in times],
        loop=0,
        optimize=True,
    )
    kept[-1].save(path.with_suffix(".png"))


if __name__ == "__main__":
    main()
