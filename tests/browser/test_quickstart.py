"""The quickstart notebook, run by hand in JupyterLab with the embedded engine."""

import shutil
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect

QUICKSTART = Path(__file__).parents[2] / "notebooks" / "quickstart.ipynb"


@pytest.mark.embedded
def test_the_quickstart_runs_in_lab_and_continues_after_a_restart(
    open_notebook, jupyter
):
    shutil.copy(QUICKSTART, jupyter.root / "quickstart.ipynb")
    page = open_notebook("quickstart.ipynb")
    cells = nbformat.read(QUICKSTART, as_version=4).cells
    count = sum(cell.cell_type == "code" for cell in cells)
    expect(page.page.locator(".jp-CodeCell")).to_have_count(count, timeout=30_000)
    page.command("notebook:run-all-cells")
    for number in range(count):  # the second may download the model
        page.wait_ended(number)
    page.wait_text(2, "Paris")
    page.wait_text(2, "tokens/s")
    page.wait_text(3, "(embedded)")
    page.screenshot("quickstart")
    page.restart()
    for number in (0, 1, 3):
        page.run_to_end(number)
    page.wait_text(3, "turn 2 of main")
    page.screenshot("quickstart-restarted")
