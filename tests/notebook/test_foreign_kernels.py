"""Kernels other than ipykernel: cells run, and our callbacks print nothing."""

import pytest
from IPython.core.interactiveshell import InteractiveShell

from ollama_magic.notebook.compat import fails_silently

HEADER = {"msg_id": "1", "session": "s"}


class LikeXeus:
    """As in xeus-python 0.19: no argument, a header and no metadata."""

    def get_parent(self):
        return {"header": HEADER}


class OtherSignature:
    def get_parent(self, channel, subshell):
        raise AssertionError


class Broken:
    def get_parent(self, channel=None):
        raise RuntimeError("no request")


class NoParent:
    def get_parent(self, channel=None):
        return None


class OddParent:
    def get_parent(self, channel=None):
        return {"header": [], "metadata": "cellId", "content": None}


class Silent:
    """A kernel without ``get_parent``."""


@pytest.fixture(
    params=[LikeXeus, OtherSignature, Broken, NoParent, OddParent, Silent],
    ids=lambda kind: kind.__name__,
)
def shell(request, fake_ollama, tmp_path):
    shell = InteractiveShell()
    shell.history_manager.enabled = False
    shell.kernel = request.param()
    shell.run_line_magic("load_ext", "ollama_magic")
    magics = shell.meta["ollama_magic"]
    magics.host = fake_ollama.url
    magics.history_file = str(tmp_path / "chats.sqlite")
    yield shell
    shell.run_line_magic("unload_ext", "ollama_magic")
    shell.history_manager.end_session()


def run(shell, code, capsys):
    result = shell.run_cell(code, store_history=True)
    shown = capsys.readouterr()
    assert "Error in callback" not in shown.out + shown.err
    return result, shown.out


def test_cells_ask_and_other_cells_are_left_alone(shell, fake_ollama, capsys):
    result, _ = run(shell, "1 + 1", capsys)
    assert result.result == 2
    for prompt in ("one?", "two?"):
        result, shown = run(shell, f"%%ollama\n{prompt}", capsys)
        assert result.success
        assert "Hello!" in shown
    messages = fake_ollama.bodies("/api/chat")[-1]["messages"]
    asked = [m["content"] for m in messages if m["role"] == "user"]
    assert asked == ["one?", "two?"]
    result, shown = run(shell, "%ollama history", capsys)
    assert "one?" in str(result.result)


def test_a_failing_cell_is_recorded_and_fixed(shell, fake_ollama, capsys):
    run(shell, "1 / 0", capsys)
    result, shown = run(shell, "%ollama fix", capsys)
    assert result.success
    assert "Hello!" in shown
    prompt = fake_ollama.bodies("/api/chat")[-1]["messages"][-1]["content"]
    assert "ZeroDivisionError" in prompt


def test_a_missing_allow_stdin_is_not_a_no(shell, capsys):
    result, _shown = run(shell, "%ollama doctor", capsys)
    assert "can ask you questions" in str(result.result)
    assert shell.meta["ollama_magic"].cells.is_interactive


def test_an_error_in_a_handler_does_not_reach_the_cell(shell, capsys, monkeypatch):
    """Later versions of IPython or of a kernel may pass other arguments to handlers."""
    for event in ("pre_run_cell", "post_run_cell"):
        for handler in shell.events.callbacks[event]:
            if type(getattr(handler, "__self__", None)).__module__.startswith("ollama"):
                handler(object())
    result, _ = run(shell, "2 + 2", capsys)
    assert result.result == 4


def test_an_interrupt_is_shown_as_an_error(shell):
    """Such a kernel takes the status of a cell from the error that is shown."""
    assert not fails_silently(shell)
