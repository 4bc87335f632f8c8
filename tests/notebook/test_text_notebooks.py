"""Text files that jupytext shows as notebooks, with JupyterLab's messages.

Their cells have other ids whenever they are opened (seen in JupyterLab 4.6 with
jupytext 1.19).
"""

import pytest
from kernel import Kernel

EDITED = "text notebooks have no cell ids: if this cell was edited, its old turn stays"


class TextNotebook:
    """An open text notebook; each opening gives its cells other ids."""

    def __init__(self, path, server):
        self.path, self.server = path, server
        self.opening = 0
        self.kernel = None

    def write(self, *prompts):
        cells = [f"# %%\n# %%ollama\n# {prompt}\n" for prompt in prompts]
        self.path.write_text("\n".join(cells))

    def start(self):
        """Start a kernel, or restart it."""
        self.close()
        self.kernel = Kernel(self.path, cwd=self.path.parent)
        self._collect(self._send("%load_ext ollama_magic", "load"))

    def reopen(self):
        self.opening += 1
        self.start()

    def run(self, prompt, cell=""):
        """Run the cell of a prompt; ``cell`` names another one."""
        return self._collect(self._send(f"%%ollama\n{prompt}", cell or prompt))

    def run_all(self, *prompts):
        """Send cells at once, as JupyterLab does."""
        sent = [self._send(f"%%ollama\n{one}", one) for one in prompts]
        for msg_id in sent:
            self._collect(msg_id)

    def _send(self, code, cell):
        cell_id = f"{cell}-{self.opening}".replace("?", "").replace(" ", "")
        return self.kernel.send(code, cell_id, deletedCells=[])

    def _collect(self, msg_id):
        ran = self.kernel.collect(msg_id)
        assert ran.status == "ok", ran
        return ran

    def prompts(self):
        code = "turns = %ollama history\nprint([turn.prompt for turn in turns])"
        return eval(self._collect(self._send(code, "history")).streams)

    def asked(self):
        messages = self.server.bodies("/api/chat")[-1]["messages"]
        return [m["content"] for m in messages if m["role"] == "user"]

    def close(self):
        if self.kernel:
            self.kernel.close()


@pytest.fixture
def notebook(tmp_path, fake_ollama, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", fake_ollama.url)
    opened = TextNotebook(tmp_path / "notes.py", fake_ollama)
    opened.write("one?", "two?", "two?", "three?")
    yield opened
    opened.close()


@pytest.mark.slow
def test_a_text_notebook_keeps_its_chat_and_replaces_turns(notebook):
    notebook.start()
    for prompt, cell in (("one?", ""), ("two?", "a"), ("two?", "b"), ("three?", "")):
        notebook.run(prompt, cell)
    notebook.start()  # a restart: the ids are the same
    assert notebook.run("one?").provenance["turn"] == 1
    assert notebook.prompts() == ["one?", "two?", "two?", "three?"]

    notebook.reopen()
    for prompt, cell in (("two?", "a"), ("two?", "b"), ("two?", "b")):
        ran = notebook.run(prompt, cell)
        assert EDITED not in ran.html
    assert notebook.asked() == ["one?", "two?", "two?"]
    notebook.run("one?")  # not in the order of the page
    assert notebook.asked() == ["one?"]
    assert notebook.prompts() == ["one?", "two?", "two?", "three?"]
    assert EDITED in notebook.run("another?", "three?").html
    assert EDITED not in notebook.run("more?").html
    notebook.run("another one?", "three?")
    assert notebook.prompts() == [
        *("one?", "two?", "two?", "three?"),
        *("another one?", "more?"),
    ]

    notebook.write("one?", "between?", "two?", "two?", "another one?")
    notebook.run("between?")
    assert notebook.asked() == ["one?", "between?"]

    notebook.write("Quite another text?")
    notebook.reopen()
    ran = notebook.run("Quite another text?")
    assert "Another notebook was at this path before" in ran.text
    assert notebook.prompts() == ["Quite another text?"]
    notebook.reopen()
    notebook.run_all("Inserted?", "Quite another text?")
    assert notebook.asked() == ["Inserted?", "Quite another text?"]
    assert notebook.prompts() == ["Inserted?", "Quite another text?"]
    error = notebook.kernel.run("%ollama restore").error
    assert "A text notebook has no outputs" in error
