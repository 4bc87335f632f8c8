"""Images in prompts, in a real kernel."""

import base64
import io
import json
import sqlite3
import struct
import threading
import wave
import zlib
from contextlib import closing

import pytest
from fake_ollama import Answer, Wait

MODEL = "llama3.2:3b"
SEES = {"name": MODEL, "capabilities": ["completion", "vision"]}


def png(width=2, height=1):
    """Return the smallest valid image."""

    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = b"".join(b"\0" + b"\x7f" * 3 * width for _ in range(height))
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


PNG = png()


@pytest.fixture
def seeing(kernel, fake_ollama, tmp_path):
    """Provide a kernel whose model has vision, and an image in a file."""
    fake_ollama.models([SEES])
    (tmp_path / "plot.png").write_bytes(PNG)
    return kernel


def messages(fake_ollama):
    return fake_ollama.bodies("/api/chat")[-1]["messages"]


def images(message):
    return [base64.b64decode(image) for image in message.get("images", ())]


def test_a_file_is_sent_and_listed_in_the_footer(seeing, fake_ollama, tmp_path):
    ran = seeing.run(f"%%ollama -a {tmp_path / 'plot.png'}\nWhat is this?")
    assert ran.status == "ok", ran.error
    (asked,) = messages(fake_ollama)
    assert images(asked) == [PNG]
    assert asked["content"] == "What is this?"
    assert "plot.png (PNG" in ran.html


def test_values_of_the_notebook_are_sent_in_order(seeing, fake_ollama, tmp_path):
    pytest.importorskip("PIL")
    path = str(tmp_path / "plot.png")
    seeing.run(
        f"import PIL.Image\ndata = {PNG!r}\nfrom pathlib import Path\n"
        f"path = Path({path!r})\nimage = PIL.Image.new('RGB', (3, 4))\n"
        "class Box: pass\nbox = Box()\nbox.items = [image]"
    )
    line = "-a data -a path -a image -a 'box.items[0]'"
    assert seeing.run(f"%%ollama {line}\nWhat?").status == "ok"
    first, second, third, fourth = images(messages(fake_ollama)[0])
    assert (first, second) == (PNG, PNG)
    assert third == fourth
    assert third.startswith(b"\x89PNG")


def test_a_figure_and_an_array_are_sent(seeing, fake_ollama):
    pytest.importorskip("matplotlib")
    seeing.run(
        "import numpy\nfrom matplotlib.figure import Figure\n"
        "fig = Figure(); fig.add_subplot().plot([1, 2])\n"
        "array = numpy.zeros((4, 5, 3), dtype='uint8')"
    )
    ran = seeing.run("%%ollama -a array\nDescribe {{ fig }} and the other.")
    assert ran.status == "ok", ran.error
    (asked,) = messages(fake_ollama)
    assert asked["content"] == "Describe [image 1] and the other."
    assert [data[:4] for data in images(asked)] == [b"\x89PNG"] * 2
    assert "fig (PNG" in ran.html


def test_a_chat_continues_about_its_images_and_stores_each_once(
    seeing, fake_ollama, tmp_path
):
    path = tmp_path / "plot.png"
    seeing.run(f"%%ollama -a {path}\nWhat?", cell_id="a")
    seeing.run(f"%%ollama -a {path}\nSure?", cell_id="b")
    seeing.run("%%ollama\nAnd?", cell_id="c")
    assert [images(m) for m in messages(fake_ollama) if m["role"] == "user"] == [
        [PNG],
        [PNG],
        [],
    ]
    with closing(sqlite3.connect(tmp_path / "chats.sqlite")) as database:
        ((count, data),) = database.execute("SELECT COUNT(*), data FROM pictures")
    assert (count, data) == (1, PNG)


HEARS = {"name": "ears:1b", "capabilities": ["completion", "audio"]}


def wav(rate=8000):
    """Return a second of silence."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 1, rate, 0, "NONE", ""))
        file.writeframes(b"\x80" * rate)
    return buffer.getvalue()


def test_a_sound_is_sent_like_an_image_to_a_model_that_hears(
    kernel, fake_ollama, tmp_path
):
    pytest.importorskip("numpy")
    fake_ollama.models([HEARS, SEES])
    (tmp_path / "talk.wav").write_bytes(wav())
    kernel.run(
        "import numpy\nfrom IPython.display import Audio\n"
        "samples = numpy.full(8000, 128, 'uint8'); sound = (samples, 8000)\n"
        f"audio = Audio({str(tmp_path / 'talk.wav')!r})"
    )
    line = f"ears:1b -a {tmp_path / 'talk.wav'} -a sound -a audio"
    ran = kernel.run(f"%%ollama {line}\nWrite it down.", cell_id="a")
    assert ran.status == "ok", ran.error
    assert images(messages(fake_ollama)[-1]) == [wav()] * 3
    assert "talk.wav (WAV, 1.0 s, " in ran.html
    assert "and 3 sounds" in kernel.run(f"%%ollama --dry-run {line}\nAgain").text
    kernel.run("%%ollama ears:1b\nAnd?", cell_id="b")
    assert images(messages(fake_ollama)[0]) == [wav()] * 3  # of the turn before
    ran = kernel.run(f"%%ollama {SEES['name']}\nAnd?", cell_id="b")
    assert not any(map(images, messages(fake_ollama)))
    assert "no audio: 3 earlier sounds not sent" in ran.html
    file = tmp_path / "chat.md"
    kernel.run(f"%ollama export {file}")
    assert "[sound: WAV, 1.0 s" in file.read_text()


def test_a_model_without_audio_gets_no_sound(seeing, fake_ollama, tmp_path):
    fake_ollama.models([SEES, HEARS])
    (tmp_path / "talk.wav").write_bytes(wav())
    ran = seeing.run(f"%%ollama {SEES['name']} -a {tmp_path / 'talk.wav'}\nWhat?")
    assert "does not support sounds" in ran.error
    assert "ears:1b" in ran.error
    assert fake_ollama.bodies("/api/chat") == []


def test_an_address_is_fetched_only_if_it_is_attached(seeing, fake_ollama):
    fake_ollama.on("GET /plot.png", Answer([PNG], content_type="image/png"))
    address = f"{fake_ollama.url}/plot.png"

    def fetches():
        return [r.path for r in fake_ollama.requests if r.path.startswith("/plot.png")]

    seeing.run(f"address = '{address}'\nfrom ollama_magic import ask")
    seeing.run(f"%%ollama\nWhat is {{{{ address }}}} and {address}?")
    assert fetches() == []
    for code in (
        f"%%ollama -a {address}?key=s3cret\nWhat?",
        "%%ollama -a address\nWhat?",
        "ask('What?', images=address)",
    ):
        ran = seeing.run(code)
        assert ran.status == "ok", ran.error
        shown = f"{address} (PNG, 2 x 1, {len(PNG)} B, fetched by this machine)"
        assert shown in ran.html
        assert "s3cret" not in ran.html
    assert len(fetches()) == 3
    assert images(messages(fake_ollama)[-1]) == [PNG]
    ran = seeing.run("%%ollama -a file:///etc/passwd\nWhat?")
    assert "only http:// and https:// addresses are fetched" in ran.error


def test_an_interrupt_ends_a_download(seeing, fake_ollama):
    answer = Answer([Wait(threading.Event())], content_type="image/png")
    fake_ollama.on("GET /plot.png", answer)
    msg_id = seeing.send(f"%%ollama -a {fake_ollama.url}/plot.png\nWhat?")
    request = fake_ollama.wait_for("/plot.png")
    seeing.manager.interrupt_kernel()
    assert seeing.collect(msg_id).status == "error"
    assert request.wait_closed()
    assert fake_ollama.bodies("/api/chat") == []


@pytest.mark.parametrize(
    "given",
    [
        "images=fig",
        "images=data",
        "images=path",
        "images=io.BytesIO(data)",
        "images=bars",
        "images=(fig, data)[:1]",
        "images=pandas.Series([str(path)])",
        "images={'a': data}.values()",
        "images='data:image/png;base64,' + base64.b64encode(data).decode()",
        "images=base64.b64encode(data + bytes(1000)).decode()",
    ],
)
def test_a_single_image_is_taken_as_a_list_of_one(seeing, fake_ollama, tmp_path, given):
    for name in ("matplotlib", "pandas"):
        pytest.importorskip(name)
    seeing.run(
        "import base64, io, pandas\n"
        "from pathlib import Path\nfrom matplotlib.figure import Figure\n"
        "from ollama_magic import ask\n"
        f"path = Path({str(tmp_path / 'plot.png')!r}); data = path.read_bytes()\n"
        "fig = Figure(); bars = fig.subplots().bar([1, 2], [3, 4])"
    )
    ran = seeing.run(f"ask('What?', {given})")
    assert ran.status == "ok", ran.error
    (body,) = fake_ollama.bodies("/api/generate")
    assert len(body["images"]) == 1


@pytest.mark.parametrize(
    ("value", "what", "why"),
    [
        ("numpy.zeros((0, 0, 3), 'uint8')", "The array is not an image", "(0, 0, 3)"),
        ("3", "The value is not an image or a sound", "it is of type int"),
        ("b'text'", "The value is not an image or a sound", "in no known format"),
        ("'data:image/png;base64,eHh4'", "The value is not", "in no known format"),
    ],
)
def test_a_single_value_that_is_no_image_is_not_left_out(
    seeing, fake_ollama, value, what, why
):
    pytest.importorskip("numpy")
    seeing.run("import numpy\nfrom ollama_magic import ask")
    ran = seeing.run(f"ask('What?', images={value})")
    assert what in ran.error
    assert why in ran.error
    assert fake_ollama.bodies("/api/generate") == []


def test_a_single_sound_file_and_tool_are_taken_as_lists_of_one(
    kernel, fake_ollama, tmp_path
):
    pytest.importorskip("numpy")
    (tmp_path / "x.txt").write_text("the text of the file")
    hears = {"capabilities": ["completion", "audio", "tools"]}
    fake_ollama.models([HEARS | hears])
    ran = kernel.run(
        "import numpy\nfrom pathlib import Path\nfrom ollama_magic import ask\n"
        "def area(a: int) -> int: 'The area.'\n"
        f"file = {str(tmp_path / 'x.txt')!r}\n"
        "sound = (8000, numpy.full(8000, 128, 'uint8'))\n"
        "ask('Say', images=sound, files=file, tools=area)\n"
        "ask('Say', files=Path(file), tools='area')"
    )
    assert ran.status == "ok", ran.error
    first, second = (messages[0] for messages in sent_messages(fake_ollama))
    assert images(first) == [wav()]
    for asked in (first, second):
        assert "the text of the file" in asked["content"]
    for body in fake_ollama.bodies("/api/chat"):
        assert [tool["function"]["name"] for tool in body["tools"]] == ["area"]


def sent_messages(fake_ollama):
    return [body["messages"] for body in fake_ollama.bodies("/api/chat")]


def test_a_model_without_vision_gets_no_images(kernel, fake_ollama, tmp_path):
    (tmp_path / "plot.png").write_bytes(PNG)
    blind = {"name": MODEL, "capabilities": ["completion"]}
    fake_ollama.models([blind, {**SEES, "name": "eyes:1b"}])
    line = f"-a {tmp_path / 'plot.png'}"
    ran = kernel.run(f"%%ollama {MODEL} {line}\nWhat?")
    assert "CapabilityError" in ran.error
    assert "eyes:1b" in ran.error
    assert fake_ollama.bodies("/api/chat") == []
    kernel.run(f"%%ollama eyes:1b {line}\nWhat?", cell_id="a")
    ran = kernel.run(f"%%ollama {MODEL}\nAnd?", cell_id="b")
    assert not any(map(images, messages(fake_ollama)))
    assert "no vision: 1 earlier image not sent" in ran.html


def test_a_one_off_reply_has_its_images_in_its_own_field(seeing, fake_ollama, tmp_path):
    seeing.run(f"%%ollama -1 -a {tmp_path / 'plot.png'}\nWhat?")
    (body,) = fake_ollama.bodies("/api/generate")
    assert body["images"] == [base64.b64encode(PNG).decode()]
    assert body["prompt"] == "What?"


@pytest.mark.parametrize(
    ("setup", "line", "said"),
    [
        ("", "-a nosuch.png", "nosuch.png"),
        ("text = 'hello'", "-a text", "hello"),
        ("number = 3", "-a number", "is not an image"),
        ("data = b'no image'", "-a data", "is not an image"),
        ("gif = b'GIF89a' + bytes(20)", "-a gif", "GIF"),
        ("", "-a", "needs a value"),
    ],
)
def test_a_value_that_is_not_an_image_is_an_error_and_nothing_is_sent(
    seeing, fake_ollama, setup, line, said
):
    seeing.run(setup or "pass")
    ran = seeing.run(f"%%ollama {line}\nWhat?")
    assert ran.status == "error"
    assert said in (ran.error or ran.streams)
    assert fake_ollama.bodies("/api/chat") == []


def test_a_dry_run_names_images_and_does_not_print_them(seeing, tmp_path):
    ran = seeing.run(f"%%ollama --dry-run -a {tmp_path / 'plot.png'}\nWhat?")
    assert "PNG, 2 x 1" in ran.text
    assert "and 1 image" in ran.text
    assert base64.b64encode(PNG).decode() not in ran.text


def test_a_saved_notebook_has_the_digest_of_an_image_and_not_its_data(seeing, tmp_path):
    """A shared notebook does not contain the image."""
    ran = seeing.run(f"%%ollama -a {tmp_path / 'plot.png'}\nWhat?")
    (told,) = ran.provenance["pictures"]
    assert set(told) == {"digest"}
    assert base64.b64encode(PNG).decode() not in json.dumps(ran.outputs)
    last = seeing.run("%ollama last --json")
    assert base64.b64encode(PNG).decode() not in last.text


def test_an_export_contains_the_image_and_an_import_restores_it(
    seeing, fake_ollama, tmp_path
):
    seeing.run(f"%%ollama -a {tmp_path / 'plot.png'}\nWhat?", cell_id="a")
    file = tmp_path / "chat.json"
    seeing.run(f"%ollama export {file}")
    ran = seeing.run(f"%ollama import {file} -c copy --trust")
    assert ran.status == "ok", ran.error
    seeing.run("%%ollama -c copy\nAnd?", cell_id="b")
    assert images(messages(fake_ollama)[0]) == [PNG]
