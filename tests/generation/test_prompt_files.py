"""Files that are sent before a prompt."""

import os
from pathlib import Path

import pytest

from ollama_magic.client.creation import read_spec
from ollama_magic.errors import ConfigError, PromptError
from ollama_magic.generation.schema import read_schema
from ollama_magic.generation.values import with_files
from ollama_magic.sharing.files import read_chats


def test_files_are_fenced_named_and_before_the_prompt(tmp_path):
    csv, notes = tmp_path / "data.csv", tmp_path / "notes"
    csv.write_text("a,b\n1,2\n")
    notes.write_text("\ufeffIt says ```python\n````\nhere.", encoding="utf-8")
    text, names = with_files("Sum up.", [str(csv), str(notes), str(csv)])
    assert text == (
        "File data.csv:\n```csv\na,b\n1,2\n```\n\n"
        "File notes:\n`````\nIt says ```python\n````\nhere.\n`````\n\n"
        "Sum up."
    )
    assert names == (str(csv), str(notes))


def test_a_long_file_is_cut_and_says_so(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("x" * 60_000)
    text, names = with_files("?", [str(path)])
    assert "[cut: 50,000 of 60,000 characters]" in text
    assert names == (f"{path} (cut)",)


WRONG = {
    "missing": (None, "cannot be read"),
    "binary": (b"\x89PNG\r\n\x1a\n\xff", "is not a text file"),
    "zeros": (b"a\0b", "is not a text file"),
}


@pytest.mark.parametrize(("data", "said"), WRONG.values(), ids=WRONG)
def test_a_file_that_is_not_text_is_an_error(tmp_path, data, said):
    path = tmp_path / "file"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(PromptError, match=said):
        with_files("?", [str(path)])


def test_a_folder_and_a_huge_file_are_errors(tmp_path):
    with pytest.raises(PromptError, match="cannot be read"):
        with_files("?", [str(tmp_path)])
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(30_000_000)
    with pytest.raises(PromptError, match="too large"):
        with_files("?", [str(huge)])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and devices of POSIX")
def test_what_never_ends_is_not_read(tmp_path):
    """Wherever a file is named: a pipe would block, and a device fills the memory."""
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    for path in (str(pipe), "/dev/zero"):
        with pytest.raises(PromptError, match="it is a pipe or a device"):
            with_files("?", [path])
        with pytest.raises(ConfigError, match="pipe or a device"):
            read_spec(path)
    with pytest.raises(PromptError, match="pipe or a device"):
        read_schema(str(pipe))
    with pytest.raises(ConfigError, match="pipe or a device"):
        read_chats(pipe, lambda _: None)


@pytest.mark.skipif(not Path("/proc/kallsyms").exists(), reason="Linux has it")
def test_a_file_without_a_size_is_read_up_to_the_limit(monkeypatch):
    monkeypatch.setattr("ollama_magic.generation.values._MAX_BYTES", 100_000)
    with pytest.raises(PromptError, match="too large"):
        with_files("?", ["/proc/kallsyms"])
