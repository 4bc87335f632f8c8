"""Code inserted into a cell, and help with code, in JupyterLab and Notebook 7."""

import pytest
from playwright.sync_api import expect

REPLY = """\
Two steps:

```python
numbers = [1, 2, 3]
```

and then

```python
print(sum(numbers))
```
"""
CELL = "numbers = [1, 2, 3]\n\n# %% block 2 of 2\nprint(sum(numbers))"
FIXED = "The name was wrong.\n\n```python\nprint(total)\n```\n"

SETUP = """\
%load_ext ollama_magic
%config OllamaMagics.host = {url!r}"""


@pytest.fixture
def notebook(open_notebook, jupyter, fake_ollama, app, request):
    """Open a notebook whose first cell has been run."""

    def open_(*sources):
        name = f"{request.node.name}.ipynb".replace("[", "-").replace("]", "")
        setup = SETUP.format(url=fake_ollama.url)
        page = open_notebook(jupyter.write_notebook(name, [setup, *sources]), app)
        page.run_to_end(0)
        return page

    return open_


def cells(page):
    """Return source and execution count of all cells."""
    return page.page.evaluate(
        """() => {
            const model = jupyterapp.shell.currentWidget.content.model;
            return Array.from(model.cells).map(cell =>
                [cell.sharedModel.getSource(), cell.executionCount]);
        }"""
    )


def run_all_to_end(page):
    script = (
        "async () => { await jupyterapp.commands.execute('notebook:run-all-cells') }"
    )
    page.page.evaluate(script)


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_code_becomes_one_cell_below_and_stays_one(notebook, fake_ollama):
    """Neither a re-run nor Restart & Run All runs the new cell or adds another."""
    fake_ollama.reply(REPLY)
    page = notebook("%%ollama -x\nSum them up.", "last = 'cell'")
    page.run_to_end(1)
    page.wait_text(1, "code in the cell below, for review")
    page.wait_text(1, "1 line of Python, in the cell below")
    asked, below, last = cells(page)[1:]
    assert asked[0] == "%%ollama -x\nSum them up."
    assert below == [CELL, None]
    assert last == ["last = 'cell'", None]
    page.screenshot(f"handed-over-{page.app}")

    page.run_to_end(1)
    page.wait_text(1, "for another cell: %ollama code")
    assert [source for source, _ in cells(page)] == [
        cells(page)[0][0],
        asked[0],
        CELL,
        "last = 'cell'",
    ]
    page.screenshot(f"handed-over-again-{page.app}")

    page.save()
    page.restart()
    run_all_to_end(page)
    page.wait_text(1, "for another cell: %ollama code")
    assert len(cells(page)) == 4


def test_other_code_of_a_rerun_and_of_a_reply_that_is_there_gets_a_cell(
    notebook, fake_ollama
):
    fake_ollama.reply(REPLY)
    sources = ["%%ollama -x\nSum them up.", "%%ollama\nAgain.", "%ollama code 1"]
    page = notebook(*sources)
    page.run_to_end(1)
    page.wait_text(1, "code in the cell below, for review")
    fake_ollama.reply("```python\nprint(6)\n```")
    page.source(1, "%%ollama -x\nOnly the sum.")
    page.run_to_end(1)
    page.wait_text(1, "the earlier code is below it")
    assert [source for source, _ in cells(page)[2:4]] == ["print(6)", CELL]
    page.screenshot(f"other-code-{page.app}")
    fake_ollama.reply("```python\nprint(7)\n```")
    page.run_to_end(4)
    page.run_to_end(5)
    page.wait_text(5, "1 line of Python in the cell below")
    assert cells(page)[6:] == [["print(7)", None]]


def test_run_all_does_not_run_the_new_cell(notebook, fake_ollama):
    fake_ollama.reply(REPLY)
    page = notebook("%%ollama -x\nSum them up.", "print('done')")
    run_all_to_end(page)
    page.wait_text(3, "done")
    assert cells(page)[2] == [CELL, None]
    expect(page.cell(2).locator(".jp-InputPrompt")).to_have_text("[ ]:")
    assert page.output(2).count() == 0


def test_a_failing_cell_is_fixed_in_the_cell_below(notebook, fake_ollama):
    fake_ollama.reply(FIXED)
    page = notebook("total = 3\nprint(totl)", "%ollama fix -x")
    page.run_to_end(1)
    page.wait_text(1, "NameError")
    page.run_to_end(2)
    page.wait_text(2, "code in the cell below, for review")
    page.wait_text(2, "about In[2]")
    assert cells(page)[3] == ["print(total)", None]
    prompt = fake_ollama.bodies("/api/chat")[-1]["messages"][-1]["content"]
    assert "NameError: name 'totl' is not defined" in prompt
    page.screenshot(f"fixed-{page.app}")
    page.run_to_end(3)
    page.wait_text(3, "3")
