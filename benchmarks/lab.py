"""A JupyterLab and a Chromium for measurements."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import nbformat
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.server import ROOT

IS_READY = """() => /\\[1\\]/.test(
  document.querySelector('.jp-CodeCell .jp-InputPrompt')?.textContent ?? '')"""
_number = count(1)


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
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
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


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the browser of ``CHROMIUM``, else the one on the path."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])


def open_notebook(page: Page, url: str, folder: str, cells: list[str]) -> None:
    """Show a new notebook, run its first cell and stand in the second one."""
    # NB: a name that was there before would get the kernel that it had.
    file = Path(folder) / f"run{next(_number)}.ipynb"
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in cells]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["kernelspec"] = kernel
    nbformat.write(notebook, file)
    page.goto(f"{url}/lab/workspaces/{file.stem}/tree/{file.name}")
    editors = page.locator(".jp-CodeCell .cm-content")
    editors.nth(1).wait_for(timeout=90_000)
    page.wait_for_timeout(2500)
    editors.nth(0).click()
    page.keyboard.press("Shift+Enter")
    page.wait_for_function(IS_READY, timeout=60_000)
    page.wait_for_timeout(1500)
    editors.nth(1).click()


def received_bytes(page: Page) -> list[float]:
    """Return a list that gets the size of each message which the page receives."""
    received: list[float] = []
    devtools = page.context.new_cdp_session(page)
    devtools.send("Network.enable")
    devtools.on(
        "Network.webSocketFrameReceived",
        # They are told in base64: four characters for three bytes.
        lambda event: received.append(len(event["response"]["payloadData"]) * 3 / 4),
    )
    return received
