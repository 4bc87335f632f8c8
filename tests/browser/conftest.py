"""Real JupyterLab and Notebook 7 in a real Chromium.

Skipped where no Chromium is found, and says so; where CI is set it must be there.
"""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WAIT_MS = int(os.environ.get("BROWSER_WAIT_MS", "90000"))
"""A limit for a busy machine; tests wait for events and continue at once."""


def find_chromium():
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, BROWSERS)), None)


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    skip = pytest.mark.skip(
        reason="no Chromium found: install one (Debian: apt-get install chromium) "
        "or name it in CHROMIUM"
    )
    for item in items:
        if here in Path(item.path).parents:
            item.add_marker(pytest.mark.browser)
            if find_chromium() is None and not os.environ.get("CI"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=find_chromium(),
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
        )
        yield chromium
        chromium.close()


class JupyterServer:
    """A running Jupyter server with a folder of its own."""

    def __init__(self, url, root):
        self.url, self.root = url, root

    def write_notebook(self, name, sources):
        """Write a notebook of code cells.

        Its cell ids are unique. A notebook with the ids and the prompts of another one
        would count as a copy, and continue its chat.
        """
        notebook = nbformat.v4.new_notebook()
        for number, source in enumerate(sources):
            cell = nbformat.v4.new_code_cell(source)
            cell["id"] = f"{zlib.crc32(name.encode()):08x}-{number}"
            notebook.cells.append(cell)
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(notebook, self.root / name)
        return name


@pytest.fixture(scope="session")
def runtime_folder():
    """Return a folder with a path short enough for sockets of kernels."""
    with tempfile.TemporaryDirectory(prefix="jupyter") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory, runtime_folder):
    """One Jupyter server for all browser tests; it picks its own free port."""
    root = tmp_path_factory.mktemp("jupyter")
    home = tmp_path_factory.mktemp("home")
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith("OLLAMA")},
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_RUNTIME_DIR": str(runtime_folder),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ip=127.0.0.1", "--ServerApp.port=0", "--IdentityProvider.token="]
    command += [f"--ServerApp.root_dir={root}", "--LabApp.expose_app_in_browser=True"]
    command += ["--JupyterNotebookApp.expose_app_in_browser=True"]
    command += ["--LabApp.extension_manager=readonly"]
    if sys.platform != "win32":  # with ports, two kernels may take the same one
        command += ["--KernelManager.transport=ipc"]
    news = home / "settings" / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (news / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    log = (home / "log.txt").open("w")
    with subprocess.Popen(command, env=env, stdout=log, stderr=log) as process:
        try:
            yield JupyterServer(_wait_for_server(runtime_folder, process, home), root)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(WAIT_MS / 1000)
            process.kill()


def _wait_for_server(runtime_folder, process, home):
    deadline = time.monotonic() + WAIT_MS / 1000
    while time.monotonic() < deadline and process.poll() is None:
        for info in runtime_folder.glob("jpserver-*.json"):
            try:
                url = json.loads(info.read_text())["url"].rstrip("/")
                urllib.request.urlopen(f"{url}/api", timeout=5).close()
            except (OSError, ValueError):
                continue
            return url
        time.sleep(0.1)
    raise AssertionError((home / "log.txt").read_text()[-4000:])


class NotebookPage:
    """A notebook in JupyterLab or Notebook 7, driven as a person would."""

    def __init__(self, page, app):
        self.page, self.app = page, app

    def cell(self, number):
        return self.page.locator(".jp-CodeCell").nth(number)

    def output(self, number):
        return self.cell(number).locator(".jp-OutputArea-output")

    def command(self, name):
        # NB: returning the promise would wait for the end of the cell.
        script = "name => { jupyterapp.commands.execute(name); }"
        self.page.evaluate(script, name)

    def select(self, number):
        self.cell(number).locator(".jp-InputPrompt").click()

    def run(self, number):
        """Run a cell and return at once."""
        self.select(number)
        self.command("notebook:run-cell")

    def run_to_end(self, number):
        """Run a cell and wait until the front end knows that it has ended."""
        self.select(number)
        script = "async () => { await jupyterapp.commands.execute(%r); }"
        self.page.evaluate(script % "notebook:run-cell")

    def wait_ended(self, number):
        """Wait until a cell that was never run before shows its number."""
        prompt = self.cell(number).locator(".jp-InputPrompt")
        expect(prompt).to_have_text(re.compile(r"\[\d+\]"), timeout=WAIT_MS)

    def wait_text(self, number, text):
        """Wait until the output of a cell holds a text."""
        self.output(number).filter(has_text=text).first.wait_for(timeout=WAIT_MS)

    def source(self, number, text):
        """Replace the source of a cell."""
        self.cell(number).locator(".cm-content").click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(text)

    def interrupt(self):
        self.command("notebook:interrupt-kernel")

    def restart(self):
        """Restart the kernel and wait until it is idle again."""
        self.command("notebook:restart-kernel")
        self.page.locator(".jp-Dialog .jp-mod-warn").click()
        self.wait_idle()

    def wait_idle(self):
        """Wait until the kernel has nothing to do."""
        self.page.wait_for_function(
            """() => {
                const panel = jupyterapp.shell.currentWidget;
                return panel.sessionContext.kernelDisplayStatus === 'idle';
            }""",
            timeout=WAIT_MS,
        )

    def save(self):
        """Save the notebook and wait until it is saved."""
        self.page.evaluate("() => jupyterapp.shell.currentWidget.context.save()")

    def screenshot(self, name):
        folder = os.environ.get("SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{name}.png")


@pytest.fixture
def app():
    """Run a test in JupyterLab; one of each file is marked to run in Notebook 7 too."""
    return "lab"


def pytest_exception_interact(node):
    node.stash[FAILED] = True


FAILED = pytest.StashKey[bool]()


class LabPage:
    """A page of JupyterLab that many tests use, because it takes seconds to load.

    A test opens one notebook in it. Then all documents are closed and their kernels
    end. A page in which a test has failed is not used again.
    """

    def __init__(self, browser, url):
        self._browser, self._url = browser, url
        self._page = self._taken = None
        self._workspaces = itertools.count()  # a used one would open its documents

    def take(self):
        """Return the page, or None if this test has it already."""
        if self._taken:
            return None
        self._taken = True
        if self._page is None:
            self._page = self._browser.new_page(viewport=VIEWPORT)
            workspace = f"shared{next(self._workspaces)}"
            self._page.goto(f"{self._url}/lab/workspaces/{workspace}", timeout=WAIT_MS)
            self._page.wait_for_function("() => window.jupyterapp", timeout=WAIT_MS)
            self._page.evaluate("() => jupyterapp.restored.then(() => null)")
        self._page.set_viewport_size(VIEWPORT)
        # A document of the last test may have been opened after the others were closed.
        self._page.evaluate(CLOSE_ALL)
        panels = "() => document.querySelector('.jp-NotebookPanel') === null"
        self._page.wait_for_function(panels, timeout=WAIT_MS)
        return self._page

    def give_back(self, *, failed):
        if self._taken:
            self._page.evaluate(CLOSE_ALL)
            if failed:
                self._page.close()
                self._page = None
        self._taken = False


VIEWPORT = {"width": 1000, "height": 1600}
CLOSE_ALL = """() => {
    for (const widget of Array.from(jupyterapp.shell.widgets('main'))) {
        const context = widget.sessionContext;
        if (context) {
            const preference = context.kernelPreference;
            context.kernelPreference = {...preference, shutdownOnDispose: true};
        }
        widget.dispose();
    }
}"""


@pytest.fixture(scope="session")
def lab_page(browser, jupyter):
    return LabPage(browser, jupyter.url)


@pytest.fixture
def open_notebook(browser, jupyter, lab_page, request):
    """Open a notebook of the server's folder and wait for its kernel.

    ``alone`` loads a page for this notebook only.
    """
    pages = []

    def load(name, app):
        page = browser.new_page(viewport=VIEWPORT)
        pages.append(page)
        workspace = request.node.name.replace("[", "-").rstrip("]")
        folder = f"lab/workspaces/{workspace}/tree" if app == "lab" else "notebooks"
        page.goto(f"{jupyter.url}/{folder}/{name}", timeout=WAIT_MS)
        return page

    def open_(name, app="lab", *, alone=False):
        page = None if alone or app != "lab" else lab_page.take()
        if page is None:
            page = load(name, app)
        else:
            script = """async path => {
                await jupyterapp.commands.execute('docmanager:open', {path});
            }"""
            page.evaluate(script, name)
        page.locator(".jp-CodeCell").first.wait_for(timeout=WAIT_MS)
        page.wait_for_function(
            """() => {
                const panel = window.jupyterapp && jupyterapp.shell.currentWidget;
                const context = panel && panel.sessionContext;
                return context && context.kernelDisplayStatus === 'idle';
            }""",
            timeout=WAIT_MS,
        )
        return NotebookPage(page, app)

    yield open_
    lab_page.give_back(failed=FAILED in request.node.stash)
    for page in pages:
        page.evaluate(
            """async () => {
                const panel = jupyterapp.shell.currentWidget;
                await panel.sessionContext.shutdown();
            }"""
        )
        page.close()
