"""Listings and pages of ``%ollama``: each is shown once, or used as a value."""

import os
import subprocess
import sys

import pytest

PAGES = {
    "list": "llama3.2:3b",
    "ps": "No model is loaded",
    "show llama3.2:3b": "Architecture",
    "history": "No turns in chat",
    "help": "%ollama",
    "panel": "llama3.2:3b",
    "doctor": "server",
    "config": "update_hz",
    "": "ollama_magic",
    "version": "ollama_magic",
    "use llama3.2:3b": "This notebook now uses",
    "new": "",
    "last": "No reply yet",
    "cp -y llama3.2:3b copy": "Copied",
}
ELSEWHERE = [
    "%ollama {page}\nx = 1",
    "for _ in range(1):\n    %ollama {page}",
    "if True:\n    %ollama {page}",
    "def f():\n    %ollama {page}\nf()\n",
    "with open('/dev/null'):\n    %ollama {page}",
    "try:\n    %ollama {page}\nfinally:\n    pass",
    "get_ipython().run_line_magic('ollama', '{page}')\nx = 1",
    "import asyncio\nawait asyncio.sleep(0)\n%ollama {page}\nx = 1",
]
WANTED = [
    "x = %ollama {page}",
    "x = get_ipython().run_line_magic('ollama', '{page}')",
    "def f():\n    return get_ipython().run_line_magic('ollama', '{page}')\nx = f()",
    "x = [get_ipython().run_line_magic('ollama', '{page}') for _ in 'ab']",
    "str(get_ipython().run_line_magic('ollama', '{page}'))\nx = 1",
]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_before_other_code_is_shown_once(kernel, page):
    ran = kernel.run(f"%ollama {page}\nx = 1", "cell-1")
    assert ran.status == "ok", ran.error
    assert len(ran.outputs) == (2 if page == "panel" else 1)  # with its table
    assert PAGES[page] in ran.text


@pytest.mark.parametrize("page", PAGES)
def test_a_page_at_the_end_of_a_cell_is_shown_once(kernel, page):
    ran = kernel.run(f"x = 1\n%ollama {page}", "cell-1")
    assert ran.status == "ok", ran.error
    assert len(ran.outputs) == (2 if page == "panel" else 1)
    assert PAGES[page] in ran.text


@pytest.mark.parametrize("cell", ELSEWHERE)
def test_a_page_is_shown_wherever_its_line_is(kernel, cell):
    ran = kernel.run(cell.format(page="list"), "cell-1")
    assert ran.status == "ok", ran.error
    assert len(ran.outputs) == 1
    assert "llama3.2:3b" in ran.text


@pytest.mark.parametrize("cell", WANTED)
def test_a_page_whose_value_is_used_is_not_shown(kernel, cell):
    ran = kernel.run(cell.format(page="list"), "cell-1")
    assert ran.status == "ok", ran.error
    assert not ran.outputs


def test_all_pages_of_a_cell_are_shown_in_their_order(kernel):
    ran = kernel.run("%ollama version\n%ollama list\n%ollama ask hi\n%ollama history")
    assert ran.status == "ok", ran.error
    shown = [output["data"]["text/plain"] for output in ran.outputs]
    assert len(shown) == 4
    for text, page in zip(shown, ("server", "Name", "Hello!", "hi"), strict=True):
        assert page.lower() in text.lower()


def test_last_shows_the_reply_once_wherever_its_line_is(kernel):
    kernel.run("%%ollama\nhi", "cell-1")
    for cell in "%ollama last\nx = 1", "x = 1\n%ollama last":
        assert kernel.run(cell, "cell-2").text == "Hello!"
    assert not kernel.run("x = %ollama last", "cell-2").outputs


def test_every_page_is_shown_if_ipython_shows_all_expressions(kernel):
    """``ast_node_interactivity`` controls which values IPython shows."""
    shell = "get_ipython().ast_node_interactivity"
    kernel.run(f"{shell} = 'all'")
    ran = kernel.run("%ollama version\n%ollama list", "cell-1")
    kernel.run(f"{shell} = 'last_expr'")
    assert len(ran.outputs) == 2


def test_a_widget_callback_shows_its_page(kernel):
    comm_id = kernel.run(
        "import ipywidgets\n"
        "def show(_):\n    %ollama list\n"
        "button = ipywidgets.Button()\nbutton.on_click(show)\n"
        "print(button.comm.comm_id, end='')"
    ).streams
    assert "llama3.2:3b" in kernel.click(comm_id).text


def test_a_page_returned_to_interact_is_shown_once(kernel):
    ran = kernel.run(
        "import ipywidgets\n"
        "show = lambda q: get_ipython().run_line_magic('ollama', q)\n"
        "box = ipywidgets.interactive(show, q='list')\n"
        "box.auto_display = True  # as `interact` does\n"
        "box.update()"
    )
    assert len(ran.outputs) == 1


def test_a_script_shows_its_pages(fake_ollama, tmp_path):
    script = tmp_path / "script.ipy"
    script.write_text(
        "%load_ext ollama_magic\n"
        f"%config OllamaMagics.host = {fake_ollama.url!r}\n"
        "%ollama list\nx = %ollama list\n%ollama version\n"
    )
    command = [sys.executable, "-m", "IPython", str(script)]
    ran = subprocess.run(
        command, capture_output=True, text=True, env=os.environ, check=True
    )
    assert ran.stdout.count("llama3.2:3b") == 1
    assert ran.stdout.count("ollama_magic") == 1
