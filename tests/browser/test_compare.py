"""Several models side by side, in JupyterLab and Notebook 7."""

import json
import threading
from functools import partial

import pytest
from fake_ollama import Wait, reply_line

A, B = "llama3.2:3b", "qwen3:4b"

SETUP = """\
%load_ext ollama_magic
%config OllamaMagics.host = {url!r}"""

ASK = f"""\
%%ollama --compare {A},{B}
What is recursion?"""

FIRST = """\
**Recursion** is when a function calls *itself* on a smaller case:

```python
def factorial(n): return 1 if n < 2 else n * factorial(n - 1)  # a long line of code
```

1. a base case ends it
2. every call comes nearer to it, so $T(n) = T(n - 1) + 1$
"""
SECOND = """\
| step | call | what is left to do |
|---|---|---|
| 1 | `factorial(3)` | multiply by three |
| 2 | `factorial(2)` | multiply by two |

> See *recursion*.
"""


@pytest.fixture
def notebook(open_notebook, jupyter, fake_ollama, app, request):
    """Open a notebook whose first cell has been run; the server has two models."""
    fake_ollama.models([A, B])

    def open_(*sources):
        name = f"{request.node.name}.ipynb".replace("[", "-").replace("]", "")
        setup = SETUP.format(url=fake_ollama.url)
        page = open_notebook(jupyter.write_notebook(name, [setup, *sources]), app)
        page.run_to_end(0)
        return page, jupyter.root / name

    return open_


def columns(page, number):
    """Return the headings of a cell's columns, and where they are on the page."""
    headings = page.output(number).locator("h4")
    return [(h.inner_text(), h.bounding_box()) for h in headings.all()]


def saved_outputs(path, number):
    return json.loads(path.read_text())["cells"][number]["outputs"]


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_two_replies_grow_side_by_side_and_one_is_kept(notebook, fake_ollama):
    first, rest = threading.Event(), threading.Event()

    def answer(body):
        line = partial(reply_line, body)
        if body["model"] == A:
            return [Wait(first), line(content=FIRST), Wait(rest), line(done=True)]
        end = line(done=True, eval_count=61, eval_duration=2_000_000_000)
        return [line(thinking="What is asked?"), line(content=SECOND), end]

    fake_ollama.chat(answer)
    page, path = notebook(ASK, f"%ollama keep {B}", "%ollama history")
    page.run(1)
    page.wait_text(1, f"loading {A} (2.0 GB)…")
    page.wait_text(1, "30 tokens/s")
    page.screenshot(f"compare-one-waits-{page.app}")
    first.set()
    page.wait_text(1, "a base case ends it")
    rest.set()
    page.wait_text(1, "%ollama keep MODEL")
    page.wait_ended(1)
    assert page.output(1).count() == 1
    page.output(1).locator("mjx-container").first.wait_for()
    (left, left_box), (right, right_box) = columns(page, 1)
    assert (left, right) == (A, B)
    assert left_box["y"] == right_box["y"]
    assert right_box["x"] >= left_box["x"] + left_box["width"]
    assert page.output(1).locator("td").first.inner_text() == "1"
    page.run_to_end(2)
    page.wait_text(2, "turn 1 of main")
    page.run_to_end(3)
    page.wait_text(3, B)
    page.screenshot(f"compare-{page.app}")
    page.save()
    (output,) = saved_outputs(path, 1)
    assert set(output["data"]) == {"text/html", "text/plain"}
    assert output["metadata"]["ollama_magic"]["kind"] == "comparison"
    (kept,) = saved_outputs(path, 2)
    assert kept["metadata"]["ollama_magic"]["of_cell"]


def test_a_narrow_page_has_one_column_under_the_other(notebook, fake_ollama):
    """Nothing is wider than its column: long code scrolls."""
    fake_ollama.chat(
        lambda body: [
            reply_line(body, content=FIRST if body["model"] == A else SECOND),
            reply_line(body, done=True, eval_count=61, eval_duration=2_000_000_000),
        ]
    )
    page, _ = notebook(ASK)
    page.page.set_viewport_size({"width": 500, "height": 1400})
    page.run_to_end(1)
    page.wait_text(1, "%ollama keep MODEL")
    (_, upper), (_, lower) = columns(page, 1)
    assert lower["y"] > upper["y"]
    assert lower["x"] == upper["x"]
    output = page.output(1).bounding_box()
    assert upper["x"] + upper["width"] <= output["x"] + output["width"] + 1
    page.screenshot(f"compare-narrow-{page.app}")


def test_the_stop_button_ends_both_replies(notebook, fake_ollama):
    never = threading.Event()
    fake_ollama.chat(
        lambda body: [reply_line(body, content=f"So {body['model']}"), Wait(never)]
    )
    page, _ = notebook(ASK, "print('ran on')")
    page.run(1)
    page.wait_text(1, f"So {A}")
    page.wait_text(1, f"So {B}")
    page.interrupt()
    for count in (1, 2):
        assert fake_ollama.wait_for("/api/chat", count=count).wait_closed()
    page.wait_text(1, "[interrupted]")
    page.wait_ended(1)
    text = page.cell(1).inner_text()
    assert text.count("[interrupted]") == 2
    assert "Traceback" not in text
    page.screenshot(f"compare-interrupted-{page.app}")
