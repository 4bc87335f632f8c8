"""A process started by a notebook's kernel is not that notebook: nested kernels."""

import json
import sys
from pathlib import Path

import pytest
from kernel import Kernel

SETUP = """
%load_ext ollama_magic
%config OllamaMagics.host = {host!r}
%config OllamaMagics.history_file = {history!r}
"""
HISTORY = (
    "print([turn.prompt for turn in get_ipython().run_line_magic('ollama', 'history')])"
)

NBCLIENT = """
import nbclient, nbformat
nbclient.execute(nbformat.read({inner!r}, 4))
"""
PAPERMILL_ALIKE = """
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel()
for code in {cells!r}:
    client.execute_interactive(code, timeout=60, output_hook=lambda message: None)
client.stop_channels()
manager.shutdown_kernel(now=True)
"""
JUPYTER_EXECUTE = "!{python} -m jupyter execute {inner}"
IPYTHON = "!{python} -m IPython --colors=NoColor {script}"
THREE_DEEP = """
import nbclient, nbformat
cells = [nbformat.v4.new_code_cell({nbclient!r})]
nbclient.execute(nbformat.v4.new_notebook(cells=cells))
"""
FORKED = """
import multiprocessing
def run():
    {nbclient_line}
child = multiprocessing.get_context("fork").Process(target=run)
child.start()
child.join()
"""


@pytest.fixture
def outer(tmp_path, fake_ollama):
    """Provide the kernel of a notebook with one turn, whose path the server sets."""
    (tmp_path / "outer.ipynb").touch()
    kernel = Kernel(session_name=tmp_path / "outer.ipynb")
    setup = SETUP.format(host=fake_ollama.url, history=str(tmp_path / "chats.sqlite"))
    assert kernel.run(setup).status == "ok"
    assert kernel.run("%%ollama\nsecret outer question", "a").status == "ok"
    yield kernel
    kernel.close()


@pytest.fixture
def inner(tmp_path, fake_ollama):
    """Write a notebook and a script that ask one question each; return their cells."""
    setup = SETUP.format(host=fake_ollama.url, history=str(tmp_path / "chats.sqlite"))
    cells = [setup, "%%ollama\ninner question"]
    content = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        "cells": [
            {
                "id": f"cell-number-{number}",
                "cell_type": "code",
                "metadata": {},
                "execution_count": None,
                "source": source,
                "outputs": [],
            }
            for number, source in enumerate(cells)
        ],
    }
    (tmp_path / "inner.ipynb").write_text(json.dumps(content))
    (tmp_path / "inner.ipy").write_text(f"{setup}\n%ollama ask inner question\n")
    return cells


def drivers(tmp_path, cells):
    nbclient = NBCLIENT.format(inner=str(tmp_path / "inner.ipynb"))
    return {
        "kernel": PAPERMILL_ALIKE.format(cells=cells),
        "jupyter execute": JUPYTER_EXECUTE.format(
            python=sys.executable, inner=tmp_path / "inner.ipynb"
        ),
        "ipython": IPYTHON.format(python=sys.executable, script=tmp_path / "inner.ipy"),
        "three deep": THREE_DEEP.format(nbclient=nbclient),
        "forked": FORKED.format(nbclient_line=nbclient.strip().replace("\n", "; ")),
    }


def test_a_program_run_by_a_notebook_does_not_use_its_chat(
    outer, inner, fake_ollama, tmp_path
):
    for count, (driver, code) in enumerate(drivers(tmp_path, inner).items(), 2):
        ran = outer.run(code, f"cell{count}")
        assert ran.status == "ok", (driver, ran.error)
        asked = [
            [m["content"] for m in b["messages"]]
            for b in fake_ollama.bodies("/api/chat")
        ]
        assert len(asked) == count, (driver, ran.streams)
        assert asked[0] == ["secret outer question"], driver
        assert asked[-1] == ["inner question"], driver
        assert outer.run(HISTORY).streams == "['secret outer question']\n", driver


WRAPPER = """
import subprocess, sys
sys.exit(subprocess.call([sys.executable, "-m", "ipykernel_launcher", *sys.argv[1:]]))
"""


@pytest.mark.parametrize("wrapper", ["python", "sh"])
def test_a_kernel_started_through_a_wrapper_belongs_to_the_notebook(
    tmp_path, monkeypatch, wrapper
):
    """Such as ``conda run``, ``uv run``, or the launcher of a venv on Windows."""
    wrapper_file = str(tmp_path / "wrapper.py")
    Path(wrapper_file).write_text(WRAPPER)
    launch = f"{sys.executable} -m ipykernel_launcher -f '{{connection_file}}'; true"
    argv = {
        "python": [sys.executable, wrapper_file, "-f", "{connection_file}"],
        "sh": ["sh", "-c", launch],
    }[wrapper]
    spec = tmp_path / "jupyter" / "kernels" / "wrapped"
    spec.mkdir(parents=True)
    text = {"argv": argv, "display_name": "Wrapped", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(text))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    (tmp_path / "a.ipynb").touch()
    kernel = Kernel(session_name=tmp_path / "a.ipynb", kernel_name="wrapped")
    try:
        ran = kernel.run(
            "from ollama_magic.history.notebooks import find_notebook\n"
            "print(find_notebook(get_ipython()).path)"
        )
        assert ran.streams == f"{tmp_path / 'a.ipynb'}\n"
    finally:
        kernel.close()


def test_where_processes_cannot_be_read_the_chat_belongs_to_the_session(tmp_path):
    (tmp_path / "a.ipynb").touch()
    kernel = Kernel(session_name=tmp_path / "a.ipynb")
    try:
        ran = kernel.run(
            "import sys\n"
            "sys.modules['psutil'] = None\n"
            "from ollama_magic.history.notebooks import find_notebook\n"
            "print(find_notebook(get_ipython()).path)"
        )
        assert ran.streams == "None\n"
    finally:
        kernel.close()
