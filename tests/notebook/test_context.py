"""A chat that is too long for its context, in a real kernel."""

import os
import re
import sys
import threading

import pexpect
import pytest
from fake_ollama import Answer, Wait, json_answer, reply_line

WORDS = "What do you think of the seven hills of Rome and of those who live there? "
REPLY = "They are said to be rather steep, and to have a fine view of the river. "


class SmallOllama:
    """Leaves out the oldest messages, as Ollama does, to stay within the context.

    Its replies are short enough not to push anything out of the context themselves.
    Counts a token for every four characters and six for each message, reloads the model
    for another ``num_ctx``, and reports its context length in ``/api/ps``.
    """

    def __init__(self, fake, default=512):
        self.default, self.length, self.left_out = default, 0, []
        fake.chat(self.answer)
        fake.on("GET /api/ps", lambda _: json_answer({"models": self.loaded()}))

    def loaded(self):
        known = {"name": "llama3.2:3b", "context_length": self.length}
        return [known] if self.length else []

    def answer(self, body):
        self.length = body.get("options", {}).get("num_ctx", self.default)
        prompts = [{"content": body.get("prompt", "")}]
        messages = list(body.get("messages", prompts))
        count = len(messages)
        while count_tokens(messages) > self.length and len(messages) > 1:
            del messages[0]
        self.left_out.append(count - len(messages))
        read = min(self.length, count_tokens(messages))
        written = min(len(REPLY) // 4, self.length - read)
        counts = {"prompt_eval_count": read, "eval_count": written}
        yield reply_line(body, body["model"], content=REPLY)
        yield reply_line(body, body["model"], done=True, done_reason="stop", **counts)


def count_tokens(messages):
    return sum(6 + len(message["content"]) // 4 for message in messages)


@pytest.fixture
def server(fake_ollama):
    return SmallOllama(fake_ollama)


def ask(kernel, options="", prompt=WORDS, cell_id=None):
    ran = kernel.run(f"%%ollama {options}\n{prompt}", cell_id)
    assert ran.status == "ok", ran.error
    return ran


def fill_the_context(kernel, server):
    """Ask until the server leaves out messages; return that output."""
    for _ in range(40):
        ran = ask(kernel)
        if server.left_out[-1]:
            return ran
        assert is_quiet(ran), f"nothing was dropped, and it says: {ran.text}"
    raise AssertionError("the chat never exceeded its context")


def is_quiet(ran):
    return not re.search("dropped|will probably|exceeded|was cut off", ran.text)


def advised(ran):
    """Return the options that a notice recommends, as they are typed."""
    (notice,) = [part for part in ran.text.splitlines() if "Run the cell" in part]
    return re.findall(r"--last \d+|--new|-o num_ctx \d+", notice)


def test_a_short_chat_gets_no_notice(kernel, server):
    for _ in range(3):
        assert is_quiet(ask(kernel))


def test_the_first_turn_that_was_cut_says_so_and_is_not_an_error(kernel, server):
    ran = fill_the_context(kernel, server)
    assert "dropped the beginning of the chat: about " in ran.html
    assert "(context 512)" in ran.html
    assert len(ran.outputs) == 1
    assert [option.split()[0] for option in advised(ran)] == ["--last", "--new", "-o"]


def test_every_turn_that_was_cut_says_so(kernel, server):
    fill_the_context(kernel, server)
    for _ in range(6):
        ran = ask(kernel)
        assert server.left_out[-1]
        assert not is_quiet(ran)


@pytest.mark.parametrize("index", range(3), ids=["last", "new", "num_ctx"])
def test_the_advice_of_the_notice_helps(kernel, server, index):
    ran = fill_the_context(kernel, server)
    again = ask(kernel, advised(ran)[index])
    assert server.left_out[-1] == 0
    assert is_quiet(again)


def test_a_re_run_with_the_advice_replaces_the_turn(kernel, server):
    for number in range(40):
        ran = ask(kernel, cell_id=f"cell-{number}")
        if not is_quiet(ran):
            break
    again = ask(kernel, advised(ran)[0], cell_id=f"cell-{number}")
    assert is_quiet(again)
    assert again.provenance["turn"] == ran.provenance["turn"]
    assert again.provenance["context_length"] == 512


def test_num_ctx_is_never_changed_automatically(kernel, server, fake_ollama):
    fill_the_context(kernel, server)
    ask(kernel)
    assert all("options" not in body for body in fake_ollama.bodies("/api/chat"))


def test_the_check_sends_no_extra_requests(kernel, server, fake_ollama):
    fill_the_context(kernel, server)
    before = len(fake_ollama.requests)
    ask(kernel)
    paths = [request.path for request in fake_ollama.requests[before:]]
    assert set(paths) == {"/api/chat", "/api/ps", "/api/tags"}
    assert len(paths) <= 4  # /api/ps again when the reply has begun


def test_a_single_prompt_that_is_too_long_gets_a_notice(kernel, server):
    ran = ask(kernel, "--once", WORDS * 60)
    assert "dropped part of the prompt" in ran.text
    assert "Run the cell again with a shorter prompt or -o num_ctx 2048." in ran.text


def test_a_dry_run_says_whether_it_would_fit(kernel, server):
    unknown = ask(kernel, "--dry-run")
    assert "whether it fits is unknown until the model is loaded" in unknown.text
    ask(kernel)
    fits = ask(kernel, "--dry-run")
    assert "of 512 tokens (estimate); nothing was sent" in fits.text
    assert "it fits into the context" in fits.text
    too_long = ask(kernel, "--dry-run -o num_ctx 64", WORDS * 5)
    assert "will probably not fit" in too_long.text


def test_a_dry_run_of_a_chat_that_is_too_long_gives_advice(kernel, server):
    fill_the_context(kernel, server)
    for _ in range(3):
        ask(kernel)
    dry = ask(kernel, "--dry-run")
    assert "This chat will probably not fit: about " in dry.text
    assert (
        "it fits into the context" in ask(kernel, f"--dry-run {advised(dry)[0]}").text
    )


def test_the_warning_is_shown_before_the_first_token(kernel, fake_ollama):
    """A long prompt may take minutes to process; the cell says so."""
    more = threading.Event()
    body = {"model": "llama3.2:3b", "messages": []}
    steps = [Wait(more), reply_line(body, body["model"], content="Hm.", done=True)]
    fake_ollama.on("POST /api/chat", Answer(steps))
    msg_id = kernel.send(f"%%ollama -o num_ctx 64\n{WORDS * 10}")
    kernel.collect(msg_id, until=lambda ran: "will probably not fit" in ran.html)
    more.set()
    assert "will probably not fit" in kernel.collect(msg_id).text


def test_an_interrupted_reply_still_shows_the_warning(kernel, fake_ollama):
    body = {"model": "llama3.2:3b", "messages": []}
    steps = [reply_line(body, body["model"], content="Well"), Wait(threading.Event())]
    fake_ollama.on("POST /api/chat", Answer(steps))
    msg_id = kernel.send(f"%%ollama -o num_ctx 64\n{WORDS * 10}")
    kernel.collect(msg_id, until=lambda ran: "Well" in ran.html)
    kernel.manager.interrupt_kernel()
    ran = kernel.collect(msg_id)
    assert "[interrupted]" in ran.text
    assert "This prompt will probably not fit" in ran.text


def test_a_terminal_shows_the_notice_too(fake_ollama, server):
    env = {**os.environ, "OLLAMA_HOST": fake_ollama.url, "TERM": "dumb"}
    options = ["--simple-prompt", "--colors=NoColor", "--no-banner"]
    child = pexpect.spawn(
        sys.executable,
        ["-m", "IPython", *options, "--ext=ollama_magic", "--no-confirm-exit"],
        env=env,
        encoding="utf-8",
        timeout=60,
        dimensions=(40, 500),
    )
    child.expect(r"In \[1\]: ")
    child.sendline(f"%ollama ask -o num_ctx 64 {WORDS * 10}")
    child.expect_exact(REPLY.strip())
    child.expect_exact("The server dropped part of the prompt: about ")
    child.expect_exact("Run the cell again with a shorter prompt or -o num_ctx ")
    child.close(force=True)


def test_the_status_shows_the_context_in_use(kernel, server):
    assert "context" not in kernel.run("%ollama").text
    ran = ask(kernel)
    stats = ran.provenance["stats"]
    used = stats["prompt_eval_count"] + stats["eval_count"]
    state = kernel.run("%ollama").text
    expected = f"Context   {used} of 512 tokens ({used / 512:.0%}) at the last turn"
    assert f"{expected}; the chat now: about " in state


def test_nothing_is_assumed_about_an_unknown_model(kernel, fake_ollama):
    fake_ollama.reply("Fine.")
    for _ in range(3):
        ran = ask(kernel, prompt=WORDS * 20)
        assert is_quiet(ran)
        assert ran.provenance["context_length"] is None
