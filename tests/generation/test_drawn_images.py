"""Images in a reply: shown if they are PNG, whatever a server calls an image."""

import struct
import threading
from base64 import b64encode

import pytest
from fake_ollama import Answer, Wait, reply_line

import ollama_magic
from ollama_magic.client.images import drawn_image, png_of
from ollama_magic.generation.front_end import NoDisplay
from ollama_magic.generation.options import ChatOptions
from ollama_magic.generation.run import ask
from ollama_magic.generation.session import current_session
from ollama_magic.render.reply import shows_reply

PNG = png_of(4, 3, 3, bytes(36))
HUGE = PNG[:16] + struct.pack(">II", 60_000, 60_000) + PNG[24:]
HOSTILE = {
    "script": '"><script>alert(1)</script>',
    "svg": b64encode(
        b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>"
    ).decode(),
    "gif": b64encode(b"GIF89a" + bytes(20)).decode(),
    "address": "https://evil.example/x.png",
    "data address": "data:image/png;base64," + b64encode(PNG).decode(),
    "cut off": b64encode(PNG[:14]).decode(),
    "60,000 x 60,000": b64encode(HUGE).decode(),
    "not ASCII": "ä" * 8,
}


NOT_SHOWN = "[an image is not shown: it is no PNG, too large, or one too many]"


@pytest.fixture(autouse=True)
def script(fake_ollama, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", fake_ollama.url)
    return fake_ollama


def draws(script, *images, text=""):
    def answer(body):
        line = reply_line(body, content=text)
        if "messages" in body:
            line["message"]["images"] = list(images)
        else:
            line["image"] = images[0]
        steps = ({"completed": n, "total": 2} for n in (1, 2))
        return [*steps, line, reply_line(body, done=True, done_reason="stop")]

    script.chat(answer)


@pytest.mark.parametrize("ask_", [ollama_magic.ask, ollama_magic.chat])
def test_an_image_is_shown_and_is_a_value(script, ask_):
    data = b64encode(PNG).decode()
    draws(script, data, text="Here *it* is.")
    reply = ask_("Draw.")
    assert reply.images == (PNG,)
    assert (reply.status, reply.notice) == ("complete", "")
    bundle, _ = reply._repr_mimebundle_()
    assert f'src="data:image/png;base64,{data}"' in bundle["text/html"]
    assert bundle["text/plain"].endswith(f"[image: PNG, 4 x 3, {len(PNG)} B]")
    assert shows_reply(bundle["text/html"], reply.text, "markdown")
    assert not shows_reply(bundle["text/html"], "Another text.", "markdown")


def test_an_image_alone_is_a_reply(script):
    draws(script, b64encode(PNG).decode())
    reply = ollama_magic.ask("Draw.", cached=True)
    assert (reply.text, reply.notice) == ("", "")
    ollama_magic.ask("Draw.", cached=True)
    assert len(script.bodies("/api/generate")) == 2  # the cache keeps no images


@pytest.mark.parametrize("image", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_png_is_not_shown(script, image):
    assert drawn_image(image) is None
    draws(script, image)
    reply = ollama_magic.ask("Draw.")
    assert reply.images == ()
    assert reply.notice == NOT_SHOWN
    page = reply._repr_html_()
    assert "<img" not in page
    assert image not in page


def test_steps_of_an_image_are_shown_while_it_is_drawn(script):
    drawn = threading.Event()

    class Display(NoDisplay):
        def waiting(self, text):
            if "is drawing, step 3 of 20" in text:
                drawn.set()

    steps = [{"completed": 3, "total": 20}, Wait(drawn)]
    last = {"response": "", "image": b64encode(PNG).decode(), "done": True}
    script.on("POST /api/generate", Answer([*steps, last]))
    ask(current_session(), ChatOptions(once=True), "Draw.", Display())
    assert drawn.is_set()


def test_the_images_of_a_reply_have_one_budget(script):
    """A browser decodes them all: 7,000 x 7,000 pixels need 200 MB, and here 57 B."""
    large = PNG[:16] + struct.pack(">II", 7000, 7000) + PNG[24:]
    draws(script, *[b64encode(large).decode()] * 30)
    reply = ollama_magic.chat("Draw.")
    assert (len(reply.images), reply.notice) == (1, NOT_SHOWN)
    draws(script, *[b64encode(PNG).decode()] * 500)
    reply = ollama_magic.chat("Draw.")
    assert (len(reply.images), reply.notice) == (16, NOT_SHOWN)
