"""Take the pictures of the documentation in a real JupyterLab and a real Chromium.

``python docs/make_pictures.py`` needs the extra ``test`` and a Chromium. The answer is
that of the embedded engine and is not edited. The panel shows a scripted server
(``tests/fake_ollama.py``), because the engine has only one model.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import nbformat
from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from fake_ollama import Answer, FakeOllama, Pause, Wait, json_answer  # noqa: E402

IMAGES = ROOT / "docs" / "images"
THEMES = ("light", "dark")
ANSWER = [
    "%load_ext ollama_magic\n%ollama serve",
    "word = 'notebook'",
    "%%ollama -x -t 0 -o num_predict 110\n"
    "Write a Python function that reverses a string like {{ word }}.\n"
    "Show how it is called.",
    "%ollama history",
]
PANEL = [
    "%load_ext ollama_magic\n%config OllamaMagics.host = '{url}'",
    "%ollama panel",
]
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
RUN_ONE = "notebook:run-cell-and-select-next"
FRAME_S = 0.15
IDLE = """() => jupyterapp.shell.currentWidget
    && jupyterapp.shell.currentWidget.sessionContext.kernelDisplayStatus === 'idle'"""
GB = 1_000_000_000
NOW = datetime.now(UTC)
MODELS = [  # name, size in GB, days, parameters, quantisation, capabilities
    ("qwen3:4b", 2.5, 1, "4.0B", "Q4_K_M", ["completion", "tools", "thinking"]),
    ("gpt-oss:120b-cloud", 0, 2, "116.8B", "MXFP4", ["completion", "tools"]),
    ("llama3.2:3b", 2.0, 12, "3.2B", "Q4_K_M", ["completion", "tools"]),
    ("gemma3:12b", 8.1, 35, "12.2B", "Q4_K_M", ["completion", "vision"]),
    ("nomic-embed-text:latest", 0.274, 190, "137M", "F16", ["embedding"]),
]


def main() -> None:
    """Write the pictures of an answer and of the panel to ``docs/images``."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        root = Path(folder)
        with start_server(root) as process:
            try:
                url = wait_for_url(root)
                browser = playwright.chromium.launch(
                    executable_path=os.environ.get("CHROMIUM")
                    or shutil.which("chromium"),
                    args=["--no-sandbox", "--disable-gpu"],
                )
                size = {"width": 900, "height": 640}
                page = browser.new_page(viewport=size, device_scale_factor=1)
                open_notebook(page, url, root, "answer", ANSWER)
                save(record(page), IMAGES / "answer.gif")
                page = browser.new_page(viewport={"width": 1120, "height": 900})
                with FakeOllama() as fake:
                    script(fake)
                    cells = [source.replace("{url}", fake.url) for source in PANEL]
                    open_notebook(page, url, root, "panel", cells)
                    show_panel(page)
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
        "JUPYTERLAB_WORKSPACES_DIR": str(root / "workspaces"),
        "JUPYTER_RUNTIME_DIR": str(root / "runtime"),
        "JUPYTER_CONFIG_DIR": str(root / "config"),
        "IPYTHONDIR": str(root / "ipython"),
        "XDG_DATA_HOME": str(root / "data"),
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
            if text := info.read_text():  # empty at first
                url = str(json.loads(text)["url"]).rstrip("/")
                urllib.request.urlopen(f"{url}/api").close()
                return url
        time.sleep(0.1)


def open_notebook(
    page: Page, url: str, root: Path, name: str, sources: list[str]
) -> None:
    """Open a new notebook, without the file browser, and run its first cell."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook.metadata["kernelspec"] = KERNEL
    nbformat.write(notebook, root / f"{name}.ipynb")
    page.goto(f"{url}/lab/workspaces/{name}/tree/{name}.ipynb")
    page.locator(".jp-CodeCell").nth(len(sources) - 1).wait_for(timeout=60_000)
    page.wait_for_function(IDLE, timeout=60_000)
    run(page, "application:toggle-left-area")
    run(page, RUN_ONE)
    page.wait_for_function(IDLE, timeout=120_000)


def run(page: Page, command: str, **args: str) -> None:
    """Run a command of JupyterLab."""
    page.evaluate(
        "([name, args]) => { jupyterapp.commands.execute(name, args); }",
        [command, args],
    )


def record(page: Page) -> list[Image.Image]:
    """Run the notebook and return what was seen, frame by frame."""
    page.get_by_text("embedded engine").wait_for(timeout=120_000)
    page.wait_for_function(IDLE, timeout=60_000)
    frames = [shot(page)]
    run(page, "notebook:run-all-below")
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


def script(fake: FakeOllama) -> None:
    """Give the server some models, one in memory, and two pulls."""
    entries = [
        {
            "name": name,
            "size": int(size * GB) or 300,
            "digest": f"{number + 1:064x}",
            "modified_at": (NOW - timedelta(days=days, hours=1)).isoformat(),
            "details": {
                "family": "llama",
                "context_length": 8192,
                "parameter_size": parameters,
                "quantization_level": level,
            },
            "capabilities": capabilities,
        }
        | ({"remote_host": "https://ollama.com:443"} if "cloud" in name else {})
        for number, (name, size, days, parameters, level, capabilities) in enumerate(
            MODELS
        )
    ]
    fake.models(entries)
    loaded = entries[0] | {"size": int(3.4 * GB), "size_vram": int(3.4 * GB)}
    expires = (NOW + timedelta(hours=1)).isoformat()
    fake.on("GET /api/ps", json_answer({"models": [loaded | {"expires_at": expires}]}))
    total = 18_600_000_000
    steps: list[object] = []
    success = {"status": "success"}
    for number in range(8):
        steps += [layer(3 * GB + number * 60_000_000, total), Pause(0.4)]
    fake.on(
        "POST /api/pull",
        Answer([*(layer(n, 523_000_000) for n in (9, 523_000_000)), success]),
        Answer([*steps, Wait(threading.Event())]),
    )


def layer(completed: int, total: int) -> dict[str, object]:
    """Return a line of a pull."""
    digest = f"sha256:{total:064x}"
    status = f"pulling {digest[7:19]}"
    sizes = {"total": total, "completed": completed}
    return {"status": status, "digest": digest} | sizes


def show_panel(page: Page) -> None:
    """Write a picture of the panel in each theme, with pulls and a question."""
    run(page, RUN_ONE)
    page.get_by_label("Default model").select_option(index=1)
    for name, state in (("qwen3:0.6b", "pulled qwen3"), ("qwen3:30b-a3b", " left")):
        page.get_by_placeholder("name of a model").fill(name)
        page.keyboard.press("Enter")
        page.locator(".jp-OutputArea").get_by_text(state).first.wait_for()
    page.get_by_role("button", name="llama3.2:3b", exact=True).click()
    page.get_by_role("button", name="Delete…", exact=True).click()
    page.get_by_text("It frees").wait_for()
    page.mouse.move(5, 5)
    for theme in THEMES:
        run(page, "apputils:change-theme", theme=f"JupyterLab {theme.title()}")
        page.wait_for_timeout(1500)  # the style sheet of the theme
        cell = page.locator(".jp-CodeCell").nth(1)
        picture = Image.open(BytesIO(cell.screenshot())).convert("RGB")
        picture.quantize(96, dither=0).save(
            IMAGES / f"panel-{theme}.png", optimize=True
        )


if __name__ == "__main__":
    main()
