"""The chat has the order of the page, in real JupyterLab and Notebook 7."""

import pytest

SETUP = """\
%load_ext ollama_magic
%config OllamaMagics.host = {url!r}"""


@pytest.fixture
def page(open_notebook, jupyter, fake_ollama, app, request):
    """Open a notebook whose cells A and B have been run."""
    name = f"{request.node.name}.ipynb".replace("[", "-").replace("]", "")
    setup = SETUP.format(url=fake_ollama.url)
    sources = [setup, "%%ollama\nA?", "%%ollama\nB?", "%ollama history"]
    page = open_notebook(jupyter.write_notebook(name, sources), app)
    for number in range(3):
        page.run_to_end(number)
    return page


@pytest.fixture
def asked(fake_ollama):
    """Return the prompts of the last requests."""

    def asked_(count=1):
        return [
            "".join(m["content"] for m in body["messages"] if m["role"] == "user")
            for body in fake_ollama.bodies("/api/chat")[-count:]
        ]

    return asked_


def history(page, number):
    page.run_to_end(number)
    page.output(number).locator("tbody tr").first.wait_for()
    rows = page.output(number).locator("tbody tr").all()
    return [row.locator("th, td").all_inner_texts()[:3] for row in rows]


def test_a_cell_between_two_takes_its_place_when_the_notebook_is_saved(page, asked):
    page.select(1)
    page.command("notebook:insert-cell-below")
    page.source(2, "%%ollama\nC?")
    page.run_to_end(2)
    page.wait_text(2, "turn 3 of main (unsaved cell)")
    assert asked() == ["A?B?C?"]
    assert history(page, 4) == [
        ["1", "2", "A?"],
        ["2", "3", "B?"],
        ["3", "unsaved", "C?"],
    ]
    page.screenshot(f"unsaved-{page.app}")
    page.save()
    assert history(page, 4) == [["1", "2", "A?"], ["2", "3", "C?"], ["3", "4", "B?"]]
    page.screenshot(f"in-order-{page.app}")
    page.run_to_end(2)
    assert asked() == ["A?C?"]
    page.run_to_end(3)
    assert asked() == ["A?C?B?"]


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_restart_and_run_all_has_the_order_of_a_page_that_was_not_saved(page, asked):
    page.select(2)
    page.command("notebook:move-cell-up")
    page.select(1)
    page.command("notebook:insert-cell-below")
    page.source(2, "%%ollama\nC?")
    page.restart()
    page.command("notebook:run-all-cells")
    page.wait_text(4, "A?")
    page.wait_idle()
    assert asked(3) == ["B?", "B?C?", "B?C?A?"]
    assert [row[2] for row in history(page, 4)] == ["B?", "C?", "A?"]
    assert "unsaved" not in page.output(2).inner_text()
