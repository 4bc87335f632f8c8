"""``%ollama template`` and ``%%ollama @NAME``."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_magic.errors import PromptError
from ollama_magic.generation.options import ChatOptions
from ollama_magic.notebook import templates
from ollama_magic.notebook.cli.parser import parse_chat_arguments
from ollama_magic.notebook.commands import prompts_in


def asked(fake_ollama):
    return fake_ollama.bodies("/api/chat")[-1]


def write(tmp_path, text, name="review"):
    folder = tmp_path / "prompts"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.md").write_text(text)


def forget(kernel, *names):
    """Delete templates: the kernel of the tests keeps its home."""
    for name in names:
        kernel.run(f"%ollama template rm {name} -y")


def test_a_prompt_is_saved_as_it_was_typed_and_used_with_new_values(
    kernel, fake_ollama, tmp_path
):
    fake_ollama.reply('{"grade": 1}')
    kernel.run("code = 'first'")
    kernel.run(
        "%%ollama -s 'Be \"strict\".' -t 0 --schema 'grade int' -x\nIs {{ code }} ok?"
    )
    ran = kernel.run("%ollama template save review")
    assert ran.text == (
        "Saved: Is {{ code }} ok?\nto use it: %%ollama @review\nnot kept: --extract"
    )
    kernel.run("code = 'second'")
    ran = kernel.run("%%ollama @review -t 1 --new\nBe brief.", "a")
    assert ran.status == "ok", ran.error
    body = asked(fake_ollama)
    assert body["messages"] == [
        {"role": "system", "content": 'Be "strict".'},
        {"role": "user", "content": "Is second ok?\n\nBe brief."},
    ]
    assert body["options"] == {"temperature": 1}
    assert body["format"]["properties"] == {"grade": {"type": "integer"}}
    assert "template review (sets system, schema)" in ran.html
    assert "filled in: code" in ran.html
    assert ran.provenance["template"] == "review"
    kernel.run("%ollama ask --new @review please")
    assert asked(fake_ollama)["messages"][-1]["content"] == "Is second ok?\n\nplease"
    kernel.run("%ollama ask --new @nobody please")
    assert asked(fake_ollama)["messages"][-1]["content"] == "@nobody please"
    shown = kernel.run("%ollama template show review").text
    assert 'system: Be "strict".\ntemperature: 0\n' in shown
    ran = kernel.run("%ollama template save review")
    assert "The template 'review' was not replaced." in ran.error
    ran = kernel.run("%ollama template export review")
    assert (tmp_path / "prompts" / "review.md").exists(), ran
    write(tmp_path, "Say {{ ... }} twice, {{ code }}.")
    listed = kernel.run("%ollama template").text
    assert "prompts/review.md" in listed
    assert "yours, hidden" in listed
    ran = kernel.run("%%ollama @review --dry-run\nhi")
    assert "Say hi twice, second." in ran.text
    assert "\ntemplate review (prompts/review.md)" in ran.text
    write(tmp_path, "---\nlast: 2\n---\nHi", "short")
    ran = kernel.run("%%ollama @short --new")
    assert "--last of @short cannot be used together" in ran.streams
    kernel.run("%ollama ask -t 0 --new {{ code }}?")
    kernel.run("%%ollama --schema?")
    assert "@short" in kernel.run("%ollama template save short -y").text
    shown = kernel.run("%ollama template show short").text
    assert "prompts/short.md" in shown  # that of the notebook wins
    (tmp_path / "prompts" / "short.md").unlink()
    shown = kernel.run("%ollama template show short").text
    assert shown.endswith("---\ntemperature: 0\n---\n{{ code }}?\n")
    forget(kernel, "review", "short")
    ran = kernel.run("%ollama template rm review -y")
    assert "is a file beside the notebook" in ran.error
    ran = kernel.run("%%ollama @revew\nhi")
    assert "There is no template 'revew'." in ran.error
    assert "did you mean @review?" in ran.error


def test_advice_about_templates_can_be_typed(kernel, tmp_path):
    write(tmp_path, "Is {{ code }} ok?")
    ran = kernel.run("%%ollama @review why is it slow")
    assert "\n  next: %ollama ask @review why is it slow\n" in ran.streams
    ran = kernel.run("%ollama template review")
    assert "to use it: %%ollama @review" in ran.streams
    kernel.run("%%ollama\nFirst")
    kernel.run("%%ollama @nobody\nSecond")  # could not be sent
    assert "Saved: First\n" in kernel.run("%ollama template save of -y").text
    assert "not deleted" in kernel.run("%ollama template delete of").error
    forget(kernel, "of")


HOSTILE = {
    "tool: get": "it sets 'tool'",
    "yes: true": "it sets 'yes'",
    "extract: true": "it sets 'extract'",
    "host: http://evil": "it sets 'host'",
    "file: /etc/passwd": "it sets 'file'",
    "image: https://evil/x.png": "it sets 'image'",
    "above: true": "it sets 'above'",
    "new: true": "it sets 'new'",
    "quiet: true": "it sets 'quiet'",
    "-T: get": "it sets '-T'",
    "model: a\nmodel: b": "one model only",
    "temperature: hot": "cannot be 'hot'",
    "seed: 1 --yes": "cannot be '1 --yes'",
    "num_ctx: 8192": "write it as option: num_ctx 8192",
    "once: yes": "once can only be true or false",
    "schema: pyproject.toml": "schema cannot be a file",
    'system: "open': "the text of system has no end",
}


@pytest.mark.parametrize("header", HOSTILE)
def test_a_file_sets_only_what_a_template_may(tmp_path, header, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    path = tmp_path / "review.md"
    path.write_text(f"---\n{header}\n---\nHi")
    with pytest.raises(PromptError) as error:
        templates.read(path, is_shared=True)
    assert HOSTILE[header] in error.value.why
    assert str(path) in error.value.next_step


def test_a_small_file_is_not_a_huge_prompt(tmp_path):
    path = tmp_path / "review.md"
    path.write_text("{{ ... }}" * 21)
    with pytest.raises(PromptError) as error:
        templates.read(path, is_shared=True)
    assert "it has {{ ... }} more than 20 times" in error.value.why


def test_a_shared_file_cannot_choose_a_cloud_model(kernel, fake_ollama, tmp_path):
    write(tmp_path, "---\nmodel: big:cloud\n---\nHi")
    ran = kernel.run("%%ollama @review")
    assert "The template 'review' names a cloud model, 'big:cloud'." in ran.error
    copy = {"name": "mine:1b", "remote_host": "https://ollama.com:443"}
    fake_ollama.models([{"name": "llama3.2:3b"}, copy])
    write(tmp_path, "---\nmodel: mine:1b\n---\nHi")
    ran = kernel.run("%%ollama @review")
    assert "names a cloud model, 'mine:1b'." in ran.error
    assert fake_ollama.bodies("/api/chat") == []
    ran = kernel.run("%%ollama @review -m llama3.2:3b")
    assert ran.status == "ok", ran.error
    assert asked(fake_ollama)["model"] == "llama3.2:3b"
    assert "template review (prompts/review.md)" in ran.html


def test_a_link_is_not_followed_and_a_name_is_no_path(tmp_path, monkeypatch):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    write(tmp_path, "Hi", "good")
    (tmp_path / "prompts" / "bad.md").symlink_to(secret)
    session = SimpleNamespace(
        notebook=SimpleNamespace(path=str(tmp_path / "a.ipynb")),
    )
    (tmp_path / "prompts" / "folder.md").mkdir()
    assert [*templates.by_name(session)] == ["good"]
    for name in ("bad", "../secret", "/etc/passwd", ".", ""):
        with pytest.raises(PromptError):
            templates.find(session, name)


def test_a_name_is_found_however_it_is_written(tmp_path):
    """A file name that macOS has decomposed, a name with the ending of the file."""
    write(tmp_path, "Hi", "re\N{COMBINING ACUTE ACCENT}sume\N{COMBINING ACUTE ACCENT}")
    session = SimpleNamespace(
        notebook=SimpleNamespace(path=str(tmp_path / "a.ipynb")),
    )
    assert [*templates.by_name(session)] == ["résumé"]
    for name in ("résumé", "résumé.md", "re\N{COMBINING ACUTE ACCENT}sumé"):
        assert templates.find(session, name).text == "Hi"
    with pytest.raises(PromptError, match="@ needs the name of a template"):
        templates.find(session, "")


AS_WRITTEN = {
    "Windows": b"\xef\xbb\xbf---\r\nsystem: Be brief.\r\n---\r\nHi\r\n",
    "old Mac": b"---\rsystem: Be brief.\r---\rHi",
    "blanks after the marks": b"--- \nsystem: Be brief.\n---\t\nHi",
    "comments and blank lines": b"---\n# A note\n\nsystem: Be brief.\n---\n\nHi\n\n",
    "quotes": b"---\nSystem: 'Be brief.'\n---\nHi",
    "a switch that is off": b"---\nhide_thinking: false\nsystem: Be brief.\n---\nHi",
}


@pytest.mark.parametrize("content", AS_WRITTEN.values(), ids=AS_WRITTEN)
def test_a_file_that_an_editor_wrote_is_read(tmp_path, content):
    (tmp_path / "review.md").write_bytes(content)
    found = templates.read(tmp_path / "review.md", is_shared=True)
    assert (found.text, found.options) == ("Hi", ChatOptions(system="Be brief."))


def test_a_file_may_end_after_its_options_or_have_none(tmp_path):
    path = tmp_path / "review.md"
    path.write_text("---\nsystem: Be brief.\n---")
    found = templates.read(path, is_shared=True)
    assert (found.text, found.options.system) == ("", "Be brief.")
    path.write_text("A rule:\n\n---\n\nand text")
    found = templates.read(path, is_shared=True)
    assert (found.text, found.sets) == ("A rule:\n\n---\n\nand text", ())


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1)
KEPT = st.builds(
    ChatOptions,
    model=st.none() | st.sampled_from(["llama3.2", "hf.co/a/b:Q4"]),
    system=st.none() | TEXTS,
    once=st.booleans(),
    options=st.fixed_dictionaries(
        {},
        optional={
            "num_ctx": st.integers(1, 9),
            "seed": st.integers(-1, 9),
            "temperature": st.sampled_from([0, 0.5]),
            "stop": st.just(["END", "a b"]),
        },
    ),
    keep_alive=st.none() | st.sampled_from(["10m", 5, -1]),
    think=st.sampled_from([None, True, False, "high"]),
    format=st.sampled_from([None, "text", "json"]),
    schema=st.sampled_from([None, "a int, b: one of x, y", '{"type": "object"}']),
    raw=st.booleans(),
)


@given(TEXTS.filter(str.strip), KEPT)
def test_what_is_written_is_read_again(tmp_path_factory, text, options):
    path = tmp_path_factory.getbasetemp() / "t.md"
    text = text.strip("\n")
    path.write_text(templates.written(text, options), "utf-8", newline="\n")
    found = templates.read(path, is_shared=False)
    assert (found.text, found.options) == (text, options)


def test_the_prompt_of_a_template_is_not_looked_for_in_the_cell():
    assert list(prompts_in("%%ollama @review\nbody")) == []


def test_more_than_one_template_is_an_error():
    with pytest.raises(Exception, match="@a and @b cannot be used together"):
        parse_chat_arguments("@a @b")
