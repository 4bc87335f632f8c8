"""The outputs of ``%ollama`` lines in a real kernel."""

import pytest
from fake_ollama import json_answer


def test_the_status_fits_on_one_screen(kernel):
    ran = kernel.run("%ollama")
    for word in ("Server", "Model", "Chat", "main, 0 turns", "notebook.ipynb"):
        assert word in ran.text


def test_the_status_is_shown_without_a_server(kernel):
    kernel.run("%config OllamaMagics.host = '127.0.0.1:9'")
    ran = kernel.run("%ollama")
    assert ran.status == "ok"
    assert "%ollama serve" in ran.text


@pytest.mark.parametrize(("typed", "is_deleted"), [("y", True), ("n", False)])
def test_rm_asks_for_confirmation(kernel, fake_ollama, typed, is_deleted):
    kernel.answers = [typed]
    ran = kernel.run("%ollama rm llama3.2:3b")
    assert "llama3.2:3b" in ran.asked[0]
    assert "can't be undone" in ran.asked[0]
    assert ("llama3.2:3b" not in fake_ollama.model_names) == is_deleted


def test_rm_is_an_error_if_no_user_can_answer(kernel, fake_ollama):
    ran = kernel.run("%ollama rm llama3.2:3b")
    assert ran.status == "error"
    assert "%ollama rm -y llama3.2:3b" in ran.error
    assert "llama3.2:3b" in fake_ollama.model_names
    assert kernel.run("%ollama rm -y llama3.2:3b").status == "ok"
    assert fake_ollama.model_names == []


def test_use_sets_the_default_and_a_named_model_answers_one_cell(kernel, fake_ollama):
    fake_ollama.models(["one:1b", "two:2b"])
    kernel.run("%ollama use two:2b")
    kernel.run("%%ollama\nHi")
    assert fake_ollama.bodies("/api/chat")[-1]["model"] == "two:2b"
    kernel.run("%%ollama one:1b\nHi")
    assert fake_ollama.bodies("/api/chat")[-1]["model"] == "one:1b"
    kernel.run("%%ollama\nHi")
    assert fake_ollama.bodies("/api/chat")[-1]["model"] == "two:2b"
    assert kernel.run("%ollama use nosuch").status == "error"


def test_ask_adds_a_turn_and_sends_the_text_as_typed(kernel, fake_ollama):
    ran = kernel.run("%ollama ask what's {x} and $y -- really?")
    assert ran.status == "ok", ran.error
    asked = fake_ollama.bodies("/api/chat")[-1]["messages"][-1]["content"]
    assert asked == "what's {x} and $y -- really?"
    assert len(ran.outputs) == 1
    ran = kernel.run("r = %ollama ask again?\nprint(r.text)")
    assert ran.streams == "Hello!\n"


def test_chats_are_switched_restarted_and_undone(kernel, fake_ollama):
    kernel.run("%%ollama\nfirst")
    kernel.run("%ollama chat other")
    kernel.run("%%ollama\nsecond")
    assert "other" in kernel.run("%ollama chats").text
    kernel.run("%ollama chat main")
    kernel.run("%ollama new")
    kernel.run("%%ollama\nthird")
    assert len(fake_ollama.bodies("/api/chat")[-1]["messages"]) == 1
    assert "third" in kernel.run("%ollama undo").text
    assert "new conversation" in kernel.run("%ollama undo").text
    kernel.run("%%ollama\nfourth")
    asked = [m["content"] for m in fake_ollama.bodies("/api/chat")[-1]["messages"]]
    assert asked == ["first", "Hello!", "fourth"]


def test_last_shows_the_reply_again_and_its_request(kernel):
    assert "No reply yet" in kernel.run("%ollama last").text
    kernel.run("%%ollama\nHi")
    assert kernel.run("%ollama last").text == "Hello!"
    assert '"messages"' in kernel.run("%ollama last --json").text


def test_help_shows_everything(kernel):
    assert "--temperature" in kernel.run("%ollama help").text
    assert "%ollama pull" in kernel.run("%ollama pull?").text
    assert "JSON Schema" in kernel.run("%%ollama --schema?").text
    assert "%%ollama --seed N" in kernel.run("%%ollama help --seed").text
    assert "ollama_magic" in kernel.run("%ollama version").text


@pytest.mark.parametrize("line", ["version", "", "serve"])
def test_the_version_of_a_server_cannot_add_lines(kernel, fake_ollama, line):
    version = "9.9.9\n\nnext: %ollama rm everything" + "!" * 900
    fake_ollama.on("GET /api/version", json_answer({"version": version}))
    (shown,) = [
        one for one in kernel.run(f"%ollama {line}").text.split("\n") if "9.9.9" in one
    ]
    assert "9.9.9 next: %ollama rm everything!" in shown
    assert len(shown) < 200


@pytest.mark.parametrize("magic", ["%ollama", "%%ollama"])
def test_shift_tab_shows_everything(kernel, magic):
    """A front end sends an inspect request, which ipykernel answers like this."""
    code = f"print(get_ipython().object_inspect_text({magic!r}))"
    shown = kernel.run(code).streams
    assert "--temperature" in shown
    assert "pull [MODEL…]" in shown


def test_serve_finds_a_running_server(kernel, fake_ollama):
    ran = kernel.run("%ollama serve")
    assert ran.status == "ok", ran.error
    assert f"{fake_ollama.url}" in ran.text
    assert "is running at" in ran.text


@pytest.mark.parametrize("setting", ["think = False", "think = 'high'", "options = {}"])
def test_a_reload_keeps_settings_of_every_kind(kernel, setting):
    kernel.run(f"%config OllamaMagics.{setting}")
    assert kernel.run("%reload_ext ollama_magic").status == "ok"
    kernel.run("%config OllamaMagics.think = None")


def test_the_extension_can_be_loaded_and_unloaded_twice(kernel):
    ran = kernel.run(
        "%reload_ext ollama_magic\n%unload_ext ollama_magic\n"
        "import ollama_magic\nollama_magic.unload_ipython_extension(get_ipython())\n"
        "print('ollama' in get_ipython().magics_manager.magics['line'])\n"
        "%load_ext ollama_magic"
    )
    assert ran.status == "ok", ran.error
    assert "False" in ran.streams
