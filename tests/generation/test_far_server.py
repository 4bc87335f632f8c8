"""A cell that names its model: its request does not wait for the lists of a server."""

import threading
from types import SimpleNamespace

import pytest
from fake_ollama import Answer, error, json_answer

from ollama_magic.client.background import ask_in_time
from ollama_magic.errors import CapabilityError
from ollama_magic.generation import run
from ollama_magic.generation.front_end import NoCells
from ollama_magic.generation.lookups import Lookups
from ollama_magic.generation.options import ChatOptions
from ollama_magic.generation.run import ask
from ollama_magic.generation.session import Session
from ollama_magic.generation.settings import Settings

MODEL = "llama3.2:3b"
LISTS = ("GET /api/tags", "GET /api/ps")
SEES = {"name": MODEL, "capabilities": ["completion", "vision", "thinking", "tools"]}


class Shown:
    """The display of a front end; calls ``on_text`` at the first text."""

    def __init__(self, on_text=lambda: None):
        self.on_text, self.waits = on_text, []

    def waiting(self, text):
        self.waits.append(text)

    def feed(self, content, thinking=""):
        if content:
            self.on_text()

    def __getattr__(self, name):
        return lambda *_, **__: None


@pytest.fixture
def server(fake_ollama, monkeypatch):
    # A busy machine takes its time, and nothing here is given up.
    monkeypatch.setitem(ask_in_time.__kwdefaults__, "patience_s", 600)
    fake_ollama.models([SEES])
    return fake_ollama


@pytest.fixture
def session(server, tmp_path):
    kept = Settings(host=server.url, history_file=str(tmp_path / "chats.sqlite"))
    names = {"image": b"\x89PNG\r\n\x1a\n" + bytes(64), "get_it": lambda x: x}
    shell = SimpleNamespace(user_ns=names, meta={})
    session = Session(shell, lambda: kept, NoCells())
    yield session
    session.close()


def held(server, *endpoints):
    """Hold the answers of endpoints back until an event is set."""
    released = threading.Event()
    for endpoint in endpoints:
        body = {"models": [SEES | {"digest": "d" * 64, "context_length": 4096}]}
        held = json_answer(body)
        server.on(endpoint, Answer(**{**vars(held), "hold_headers": released}))
    return released


def test_the_first_text_waits_for_no_list_and_the_end_for_that_of_models(
    session, server
):
    released = held(server, *LISTS)
    display = Shown(on_text=released.set)
    reply = ask(session, ChatOptions(model=MODEL), "Hi", display)
    assert display.waits[0] == f"contacting {server.url}…"
    assert reply.provenance["digest"] == "d" * 64
    assert len(server.bodies("/api/chat")) == 1


def test_nothing_waits_for_the_list_of_what_is_loaded(session, server):
    """Neither for that beside the request, nor for that at the first text."""
    released = held(server, "GET /api/ps")
    reply = ask(session, ChatOptions(model=MODEL), "Hi", Shown())
    assert reply.text == "Hello!"
    assert reply.provenance["digest"]
    (lookup,) = [one for one in server.requests if one.path == "/api/ps"][:1]
    assert not lookup._is_answered
    released.set()


@pytest.mark.parametrize(
    "options",
    [
        {"think": True},
        {"images": ("image",)},
        {"tools": ("get_it",)},
        {"schema": "a str"},
        {"format": "json"},
        {"cached": True},
        {"truncate": "error"},
        {"model": "llama3.2"},
        {"model": ""},
    ],
    ids=str,
)
def test_what_depends_on_the_model_waits_for_its_list(
    session, server, monkeypatch, options
):
    sent = []
    monkeypatch.setattr(run, "Lookups", lambda one: sent.append(one) or Lookups(one))
    ask(session, ChatOptions(**{"model": MODEL, **options}), "Hi", Shown())
    (prepared,) = sent
    assert not prepared.is_unlisted
    assert prepared.model


def test_a_name_without_a_tag_waits_once(session, server, monkeypatch):
    sent = []
    monkeypatch.setattr(run, "Lookups", lambda one: sent.append(one) or Lookups(one))
    for _ in range(2):
        reply = ask(session, ChatOptions(model="llama3.2"), "Hi", Shown())
        assert reply.model == MODEL
    assert [one.is_unlisted for one in sent] == [False, True]


def test_an_error_of_the_server_is_explained_by_the_list(session, server):
    server.models([{"name": "nimble:1b", "capabilities": ["decision"]}])
    server.on("POST /api/chat", error(400, '"nimble:1b" does not support chat'))
    with pytest.raises(CapabilityError, match="is a decision model"):
        ask(session, ChatOptions(model="nimble:1b"), "Hi", Shown())
