"""Proxies that hide or refuse endpoints, and servers that are almost Ollama."""

import json
import threading

import pytest
from fake_ollama import JSON, Answer, Pause, Wait, error, json_answer, reply_line

MODEL = "llama3.2:3b"
OTHER = "qwen3:4b"
QUICK = {
    "version": "GET /api/version",
    "tags": "GET /api/tags",
    "ps": "GET /api/ps",
    "show": "POST /api/show",
}
MAP = (
    f"from ollama_magic import map_prompts\nmap_prompts('{{}}', ['a'], model={MODEL!r})"
)
ASK = f"from ollama_magic import ask\nprint(ask('Hi', model={MODEL!r}))"
CELLS = {
    "cell": f"%%ollama {MODEL}\nHi",
    "level": f"%%ollama {MODEL} --think=high\nHi",
    "ask": ASK,
    "compare": f"%%ollama --compare {MODEL},{OTHER}\nHi",
}
COMMANDS = {
    "status": "%ollama",
    "use": f"%ollama use {MODEL}",
    "load": f"%ollama load {MODEL}",
    "stop": f"%ollama stop {MODEL}",
    "dry run": f"%%ollama {MODEL} --dry-run\nHi",
}


@pytest.fixture
def never():
    """Give an event for answers that never come; the server stops waiting for it."""
    return threading.Event()


def page(status, title, **headers):
    html = f"<html><head><title>{title}</title></head></html>"
    return Answer([html], status, "text/html", headers, framing="length")


def hide(fake_ollama, *names, answer):
    fake_ollama.models([MODEL, OTHER])
    for name in names:
        fake_ollama.on(QUICK[name], answer)


def asked(fake_ollama):
    """Return how often each path was requested."""
    paths = [request.path.removeprefix("/api/") for request in fake_ollama.requests]
    return {path: paths.count(path) for path in paths}


# -- endpoints that never answer -------------------------------------------------------


@pytest.mark.parametrize("code", CELLS)
def test_a_silent_server_is_asked_for_its_lists_once(kernel, fake_ollama, never, code):
    """What did not arrive is not requested again, before or after the reply."""
    hide(fake_ollama, *QUICK, answer=Answer(hold_headers=never))
    ran = kernel.run(CELLS[code])
    assert ran.status == "ok", ran.error
    counts = asked(fake_ollama)
    replies = counts.pop("chat", 0) + counts.pop("generate", 0)
    assert replies == (2 if code == "compare" else 1)
    assert set(counts) <= {"tags", "ps"}
    assert set(counts.values()) <= {1}


@pytest.mark.parametrize("names", [["ps"], ["tags"]])
def test_half_a_list_is_not_waited_for(kernel, fake_ollama, never, names):
    half = Answer(['{"models": [', Wait(never)], content_type=JSON)
    hide(fake_ollama, *names, answer=half)
    ran = kernel.run(CELLS["cell"])
    assert ran.status == "ok", ran.error
    assert fake_ollama.wait_for(f"/api/{names[0]}").wait_closed()


@pytest.mark.parametrize("code", COMMANDS)
def test_commands_do_without_what_never_arrives(kernel, fake_ollama, never, code):
    hide(fake_ollama, *QUICK, answer=Answer(hold_headers=never))
    ran = kernel.run(COMMANDS[code])
    assert ran.status == "ok", ran.error


def test_the_status_says_what_did_not_arrive(kernel, fake_ollama, never):
    hide(fake_ollama, "version", answer=Answer(hold_headers=never))
    assert "did not respond within 2.5 s; %ollama doctor" in kernel.run("%ollama").text
    hide(fake_ollama, "tags", answer=Answer(hold_headers=never))
    assert "none selected: the server did not respond" in kernel.run("%ollama").text


def test_map_prompts_does_without_capabilities_that_never_arrive(
    kernel, fake_ollama, never
):
    fake_ollama.models([MODEL])
    tags = json_answer({"models": [{"name": MODEL}]})  # an old server: no capabilities
    fake_ollama.on("GET /api/tags", tags)
    fake_ollama.on("POST /api/show", Answer(hold_headers=never))
    ran = kernel.run(MAP)
    assert ran.status == "ok", ran.error


@pytest.mark.parametrize("code", COMMANDS)
def test_commands_do_without_what_a_proxy_forbids(kernel, fake_ollama, code):
    hide(fake_ollama, *QUICK, answer=page(403, "403 Forbidden"))
    ran = kernel.run(COMMANDS[code])
    assert ran.status == "ok", ran.error


def test_the_status_of_a_proxy_without_version_is_not_unreachable(kernel, fake_ollama):
    hide(fake_ollama, "version", answer=page(404, "404 Not Found"))
    text = kernel.run("%ollama").text
    assert "version unknown (server (404): " in text
    assert "not reachable" not in text
    hide(fake_ollama, "version", answer=json_answer({"version": False}))
    assert "Version   unknown" in kernel.run("%ollama").text


# -- what a proxy says -----------------------------------------------------------------

SAID = {
    401: ("Authorization Required", "give a user name and a password: "),
    403: ("Forbidden", "a proxy in front of the server refused it"),
    404: ("Not Found", "the server has no /api/chat"),
    413: ("Request Entity Too Large", "send a smaller image or a shorter prompt"),
    429: ("Too Many Requests", "wait (7 s), then run this again"),
    502: ("Bad Gateway", "check that Ollama is running behind the proxy"),
    503: (
        "Service Temporarily Unavailable",
        "check that Ollama is running behind the proxy",
    ),
    504: ("Gateway Time-out", f"%ollama load {MODEL}; or raise the time limit"),
    524: ("A timeout occurred", f"%ollama load {MODEL}; or raise the time limit"),
}


def test_a_cell_says_what_a_proxy_wants(kernel, fake_ollama):
    headers = {"WWW-Authenticate": "Basic realm=x", "Retry-After": "7"}
    for status, (title, next_step) in SAID.items():
        fake_ollama.on("POST /api/chat", page(status, f"{status} {title}", **headers))
        lines = kernel.run(CELLS["cell"]).error.splitlines()
        assert lines[0].startswith("ServerError: ")
        assert f'server ({status}): text/html ("{status} {title}")' in lines[1]
        assert next_step in lines[2]
        assert len(lines) == 3


def test_a_cell_says_how_to_sign_in(kernel, fake_ollama):
    url = "https://ollama.com/connect?name=gpu&key=c3NoLWVk"
    body = json.dumps({"error": "unauthorized", "signin_url": url})
    fake_ollama.on("POST /api/chat", Answer([body], 401, JSON))
    fake_ollama.on("POST /api/pull", Answer([body], 401, JSON))
    for code in ("%%ollama kimi-k2.6:cloud\nHi", "%ollama pull kimi-k2.6:cloud"):
        ran = kernel.run(code)
        assert ran.error.splitlines()[-1].startswith("  next: %ollama signin, or")
        assert url not in ran.error


# -- servers beside Ollama -------------------------------------------------------------


def test_a_cell_without_a_model_names_it_as_open_webui_wants(kernel, fake_ollama):
    """With several servers behind it, only the name with its prefix is accepted."""
    prefixed = f"gpu1.{MODEL}"
    fake_ollama.models([{"name": prefixed}])
    entry = {"name": MODEL, "model": prefixed}
    fake_ollama.on("GET /api/tags", json_answer({"models": [entry]}))
    ran = kernel.run("%%ollama\nHi")
    assert ran.status == "ok", ran.error
    assert fake_ollama.bodies("/api/chat")[0]["model"] == prefixed
    assert prefixed in kernel.run("%ollama list").text


def test_llama_cpp_is_not_asked_to_pull_a_model_that_it_lists(kernel, fake_ollama):
    fake_ollama.on("GET /api/tags", json_answer({"models": [{"name": "gemma"}]}))
    missing = {"code": 404, "message": "File Not Found", "type": "not_found_error"}
    fake_ollama.on(
        "POST /api/chat", Answer([json.dumps({"error": missing})], 404, JSON)
    )
    said = kernel.run("%%ollama gemma\nHi").error
    assert "the server has no /api/chat" in said
    assert "%ollama pull" not in said
    reply = {"choices": [{"message": {"content": "Hi"}}], "object": "chat.completion"}
    fake_ollama.on("POST /api/chat", Answer([json.dumps(reply)], content_type=JSON))
    said = kernel.run("%%ollama gemma --no-stream\nHi").error
    assert "NotOllamaError: " in said
    assert "set the address of an Ollama server" in said


@pytest.mark.parametrize("code", ["%ollama load m", "%ollama pull m", CELLS["cell"]])
def test_lm_studio_does_not_break_off_and_nothing_resumes(kernel, fake_ollama, code):
    """It answers any path that it does not know with an error and status 200."""
    for path in ("chat", "generate", "pull"):
        text = f"Unexpected endpoint or method. (POST /api/{path})"
        fake_ollama.on(f"POST /api/{path}", error(200, text))
    said = kernel.run(code).error
    assert "that server is not Ollama and has no /api/" in said
    assert "resumes" not in said
    assert "restarts" not in said


# -- thinking without its tag ----------------------------------------------------------


def test_thinking_without_its_opening_tag_is_folded(kernel, fake_ollama):
    fake_ollama.reply(["Okay, so", " two.", "\n</th", "ink>\n\n", "The **answer**."])
    ran = kernel.run(f"%%ollama x << {MODEL}\nHi")
    assert ran.text == "The **answer**."
    assert "<details" in ran.html
    assert ran.html.count("Okay, so") == 1
    assert "/think" not in ran.html
    ran = kernel.run("print([x.text, x.thinking])")
    assert ran.streams == "['The **answer**.', 'Okay, so two.\\n']\n"
    assert "Okay" not in json.dumps(fake_ollama.bodies("/api/chat")[0])
    kernel.run(f"%%ollama {MODEL}\nAnd?")
    sent = fake_ollama.bodies("/api/chat")[1]["messages"]
    assert sent[1] == {"role": "assistant", "content": "The **answer**."}


def test_the_live_text_starts_over_when_it_turns_out_to_be_thinking(
    kernel, fake_ollama, never
):
    def line(text, **more):
        return reply_line({"messages": 1}, MODEL, content=text, **more)

    end = line("", done=True, done_reason="stop")
    # What arrives soon after a frame is shown with the next line.
    later = [Pause(0.2), line(" ")] * 5
    steps = [line("Okay, so."), line("</think>"), line("\n\nYes"), *later]
    fake_ollama.on("POST /api/chat", Answer([*steps, Wait(never), end]))
    msg_id = kernel.send(CELLS["cell"])
    ran = kernel.collect(msg_id, until=lambda ran: "Yes" in ran.html)
    assert "Okay" not in ran.html
    never.set()
    ran = kernel.collect(msg_id, since=ran)
    assert ran.status == "ok", ran.error
    assert ran.text.strip() == "Yes"


def test_json_after_thinking_without_its_tag_is_data(kernel, fake_ollama):
    fake_ollama.reply(["Hm.", "</think>", '{"p": 1}'])
    ran = kernel.run(
        "from ollama_magic import ask\n"
        f"print(ask('Hi', model={MODEL!r}, format='json').data)"
    )
    assert ran.streams == "{'p': 1}\n"
