"""The line that ``%load_ext`` shows if a server answers at once."""

import pytest

START = """
%unload_ext ollama_magic
get_ipython().meta.pop("ollama_magic.greeted", None)
import ollama_magic.notebook.greeting
ollama_magic.notebook.greeting.PATIENCE_S = 30
"""
LOAD = "%load_ext ollama_magic"
CLOUD = {"name": "big:cloud", "remote_host": "https://ollama.com", "remote_model": "b"}
HELP = "%%ollama to ask, %ollama help\n"


@pytest.fixture
def load(kernel):
    """Return a function that loads the extension, and returns what is printed."""
    kernel.answers = []

    def load_(cell=LOAD):
        kernel.run(START)
        ran = kernel.run(cell)
        assert ran.status == "ok", ran.error
        return ran.streams

    yield load_
    kernel.answers = None


def test_the_line_names_server_models_and_default_model(load, kernel, fake_ollama):
    fake_ollama.models([CLOUD, "llama3.2:3b"])
    fake_ollama.requests.clear()
    shown = load()
    facts = "ollama_magic: Ollama 0.33.0, 2 models, using llama3.2:3b"
    assert shown == f"{facts} · {HELP}"
    sent = {(one.method, one.path) for one in fake_ollama.requests}
    assert sent == {("GET", f"/api/{name}") for name in ("version", "tags", "ps")}
    assert kernel.run("%reload_ext ollama_magic").streams == ""
    assert kernel.run("%%ollama\nHi").text == "Hello!"
    kernel.run("%ollama use big:cloud")
    assert "using big:cloud" in load()


@pytest.mark.parametrize(
    ("models", "shown"),
    [
        ([], "no models · %ollama pull smollm2:135m, %ollama help\n"),
        ([CLOUD], "1 model, none selected · %ollama use NAME, %ollama help\n"),
    ],
)
def test_without_a_default_model_the_line_says_what_to_type(
    load, fake_ollama, models, shown
):
    fake_ollama.models(models)
    assert load() == f"ollama_magic: Ollama 0.33.0, {shown}"


def test_nothing_is_said_where_it_would_make_outputs_differ(load, kernel):
    assert load(f"{LOAD}\n%config OllamaMagics.cached = True") == ""
    kernel.run("%config OllamaMagics.cached = False")
    assert load(f"{LOAD}\n%ollama version") == ""
    kernel.answers = None  # as in nbclient
    assert load() == ""


def test_nothing_is_said_without_a_server(load, kernel):
    kernel.run("%config OllamaMagics.host = '127.0.0.1:9'")
    assert load() == ""
