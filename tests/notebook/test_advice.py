"""Advice fits the situation, and server text is harmless, in a real kernel."""

import os
import re
import subprocess
import sys

import pytest
from fake_ollama import Answer, error, json_answer

HOSTILE = "a\x1b[31mred\u202eabc"
HARMLESS = "a␛[31mredabc"
ESCAPED = r"a\x1b[31mred\u202eabc"


def said(ran):
    return (ran.error or "") + ran.streams


# -- text from a server ------------------------------------------------------------


def check_harmless(ran):
    for shown in (ran.html, ran.text):
        assert "\x1b" not in shown
        assert "\u202e" not in shown


def test_details_of_a_model_and_the_version_are_escaped(kernel, fake_ollama):
    fake_ollama.on("POST /api/show", json_answer({"template": HOSTILE, "details": {}}))
    fake_ollama.on("GET /api/version", json_answer({"version": HOSTILE}))
    for line, shown in {
        "show llama3.2:3b --template": HARMLESS,
        "version": ESCAPED,
        "": ESCAPED,
    }.items():
        ran = kernel.run(f"%ollama {line}")
        check_harmless(ran)
        assert shown in ran.html
        assert shown in ran.text


def test_the_status_of_a_pull_is_escaped(kernel, fake_ollama):
    steps = [{"status": HOSTILE}, {"status": "success"}]
    fake_ollama.on("POST /api/pull", Answer(steps))
    check_harmless(kernel.run("%ollama pull new:1b"))


# -- pull --------------------------------------------------------------------------


def test_a_pull_of_an_up_to_date_model_says_so(kernel, fake_ollama):
    fake_ollama.replay("pull_existing")
    ran = kernel.run("%ollama pull smollm2:135m")
    assert ran.text == "smollm2:135m: up to date"


def test_a_pull_shows_how_much_was_downloaded(kernel, fake_ollama):
    fake_ollama.replay("pull_progress")
    ran = kernel.run("%ollama pull smollm2:135m")
    assert ran.text == "smollm2:135m: pulled, 98 MB"


def test_a_failed_pull_suggests_to_continue_only_after_a_partial_download(
    kernel, fake_ollama
):
    fake_ollama.replay("pull_missing_model")
    ran = kernel.run("%ollama pull nosuch")
    assert ran.status == "error"
    assert ran.text == "nosuch: failed"
    half = {"status": "pulling x", "digest": "sha256:1", "total": 200, "completed": 100}
    fake_ollama.on("POST /api/pull", Answer([half, {"error": "no space left"}]))
    ran = kernel.run("%ollama pull big")
    assert ran.text == "big: failed at 100 B; the next pull resumes there"


# -- rm ----------------------------------------------------------------------------


def test_rm_of_several_models_deletes_nothing_if_one_is_missing(kernel, fake_ollama):
    fake_ollama.models(["tiny:1b", "other:1b"])
    ran = kernel.run("%ollama rm -y tiny:1b othr:1b")
    assert ran.status == "error"
    assert "ModelNotFoundError: Nothing was deleted: 'othr:1b' is not on" in ran.error
    assert "did you mean 'other:1b'?" in ran.error
    assert fake_ollama.model_names == ["tiny:1b", "other:1b"]


def test_rm_does_not_ask_about_a_missing_model(kernel, fake_ollama):
    kernel.answers = []
    ran = kernel.run("%ollama rm llama3.2:3b nosuch nothere")
    assert ran.asked == []
    assert "'nosuch', 'nothere' are not on" in ran.error
    ran = kernel.run("%ollama rm lama3.2:3b")
    assert ran.asked == []
    assert "Nothing was deleted: 'lama3.2:3b' is not on" in ran.error
    assert "did you mean 'llama3.2:3b'? See %ollama list" in ran.error
    damaged = "%ollama list; a damaged model that is not listed: %ollama rm -y nosuch"
    assert damaged in kernel.run("%ollama rm nosuch").error
    ran = kernel.run("%ollama cp nosuch llama3.2:3b")
    assert ran.asked == []
    assert "Model 'nosuch' is not on" in ran.error


def test_rm_of_one_model_by_two_names_deletes_it_once(kernel, fake_ollama):
    fake_ollama.models(["tiny:latest"])
    ran = kernel.run("%ollama rm -y tiny tiny:latest")
    assert ran.status == "ok", ran.error
    assert fake_ollama.model_names == []


def test_rm_of_one_model_lets_the_server_decide(kernel, fake_ollama):
    """Ollama does not list a damaged model, but can delete it."""
    deleted = Answer(content_type=None, framing="length")
    fake_ollama.on("DELETE /api/delete", deleted)
    assert kernel.run("%ollama rm -y damaged:1b").status == "ok"
    fake_ollama.on("DELETE /api/delete", error(404, "model 'nosuch' not found"))
    assert "Model 'nosuch' is not on" in kernel.run("%ollama rm -y nosuch").error


# -- advice ------------------------------------------------------------------------


def test_names_of_ipython_are_not_suggested(kernel):
    ran = kernel.run("%%ollama\n{{ nope }}")
    assert "There is no variable" in ran.error
    assert "did you mean" not in ran.error
    kernel.run("hope = 1")
    assert "did you mean {{ hope }}?" in kernel.run("%%ollama\n{{ nope }}").error
    kernel.run("del hope")


def test_names_of_ipython_can_be_filled_in(kernel, fake_ollama):
    assert kernel.run("%%ollama --dry-run\n{{ In[0] }}!").status == "ok"


@pytest.mark.parametrize(
    ("code", "unfit"),
    [
        ("%%ollama --foo\nHi", "did you mean"),
        ("%%ollama -- --dry-run\nHi", "%ollama pull"),
        ("%ollama pull -- --foo", "%ollama pull --foo (it resumes)"),
        ("%%ollama --host 127.0.0.1:9\nHi", "or run %ollama serve"),
    ],
)
def test_unsuitable_advice_is_not_given(kernel, code, unfit):
    ran = kernel.run(code)
    assert ran.status == "error"
    assert "next: " in said(ran)
    assert unfit not in said(ran)


# -- output without a terminal -----------------------------------------------------


def test_a_script_with_its_output_in_a_file_writes_plain_text(fake_ollama, tmp_path):
    fake_ollama.replay("pull_progress")
    script = tmp_path / "s.ipy"
    script.write_text("%ollama pull x\n%ollama ask Hi?\n")
    command = [
        sys.executable,
        "-m",
        "IPython",
        "--colors=NoColor",
        "--ext=ollama_magic",
    ]
    env = {**os.environ, "OLLAMA_HOST": fake_ollama.url}
    done = subprocess.run(
        [*command, str(script)], env=env, capture_output=True, timeout=60, check=True
    )
    written = done.stdout.decode().replace(os.linesep, "\n")
    assert written.startswith("x: pulled, 98 MB\nHello!\nllama3.2:3b")
    assert not re.search("[\r\x1b]", written)
