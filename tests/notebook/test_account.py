"""The account at ollama.com: signin, signout, whoami and usage."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from fake_ollama import JSON, Answer, FakeOllama, answer_of, error, json_answer

from ollama_magic.client.ollama_com import Balance, CloudUsage
from ollama_magic.errors import ConfigError, ServerError
from ollama_magic.generation.front_end import NoCells
from ollama_magic.generation.session import current_session
from ollama_magic.notebook.commands import account, run_line
from ollama_magic.render.listings import UsageListing, list_usage

KEY = "sk-ollama.SECRET1234"
URL = "https://ollama.com/connect?name=gpu&key=c3NoLWVk"
ANN = {"id": "1", "name": "ann", "email": "ann@example.com", "plan": "pro"}
BALANCE = {
    "included": {
        "balance_usd": 72.5,
        "allowance_usd": 100,
        "period": {"from": "2026-09-15T09:30:00Z", "until": "2026-10-15T09:30:00Z"},
    },
    "purchased": {"balance_usd": 25},
}
COUNTS = {
    "request_count": 15,
    "usage_usd": 0.01718,
    "input_tokens": 106000,
    "cached_input_tokens": 46000,
    "output_tokens": 13600,
}
TIMES = {"from": "2026-10-01T00:00:00Z", "until": "2026-10-02T00:00:00Z"}
USAGE = {
    "range": "7d",
    "granularity": "day",
    "totals": COUNTS,
    "buckets": [{**TIMES, "request_count": 0}, {**TIMES, **COUNTS, "partial": True}],
}


class Line:
    """Records what a progress line shows."""

    def __init__(self):
        self.offered, self.shown, self.finished = [], [], []

    def offer(self, title, url):
        self.offered.append(url)

    def show(self, text, share=None):
        self.shown.append(text)

    def finish(self, text):
        self.finished.append(text)


@pytest.fixture
def context(fake_ollama, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", fake_ollama.url)
    line = Line()
    return SimpleNamespace(
        session=current_session(), progress_line=lambda: line, line=line
    )


@pytest.fixture
def site(monkeypatch):
    """Give a server in the place of ollama.com, and a key."""
    monkeypatch.setenv("OLLAMA_API_KEY", KEY)
    with FakeOllama() as fake:
        monkeypatch.setattr("ollama_magic.client.ollama_com.BASE_URL", fake.url)
        fake.on("GET /api/balance", json_answer(BALANCE))
        fake.on("GET /api/usage", json_answer(USAGE))
        yield fake


def signed_out(url=URL):
    body = json.dumps({"error": "unauthorized", "signin_url": url})
    return Answer([body], 401, JSON)


def test_signing_in_waits_for_the_account_and_drops_the_link(
    context, fake_ollama, monkeypatch
):
    monkeypatch.setattr(account, "_FIRST_PAUSE_S", 0.01)
    busy = error(503, "account unavailable")
    fake_ollama.on("POST /api/me", signed_out(), signed_out(), busy, json_answer(ANN))
    assert run_line(context, "login") is None
    assert context.line.offered == [URL]
    assert context.line.finished == [
        f"Signed in: {fake_ollama.url} belongs to ann (plan: pro)"
    ]
    assert "Already signed in" in str(run_line(context, "signin"))


def test_waiting_to_sign_in_ends(context, fake_ollama, monkeypatch):
    monkeypatch.setattr(account, "_PATIENCE_S", 0)
    fake_ollama.on("POST /api/me", signed_out())
    assert run_line(context, "signin") is None
    assert context.line.finished[0].startswith("Not signed in after 0 minutes. For a")


def test_without_a_user_the_link_is_shown_and_nothing_waits(context, fake_ollama):
    fake_ollama.on("POST /api/me", signed_out())
    cells, context.session.cells = (
        context.session.cells,
        replace(NoCells(), is_interactive=False),
    )
    try:
        page = run_line(context, "signin")
    finally:
        context.session.cells = cells
    shown = page._repr_mimebundle_()[0]
    assert f'<a href="{URL.replace("&", "&amp;")}"' in shown["text/html"]
    assert "then run the notebook again" in shown["text/plain"]
    assert len(fake_ollama.bodies("/api/version")) == 0


@pytest.mark.parametrize("url", ["https://evil.example/connect", "javascript:x", None])
def test_another_address_to_sign_in_is_no_link(url, context, fake_ollama):
    fake_ollama.on("POST /api/me", signed_out(url))
    with pytest.raises(ServerError) as caught:
        run_line(context, "signin")
    assert context.line.offered == []
    assert "https://evil" not in str(caught.value)


def test_signing_out_and_who_i_am(context, fake_ollama):
    fake_ollama.on("POST /api/me", json_answer(ANN), signed_out())
    fake_ollama.on(
        "POST /api/signout",
        Answer(content_type=None, framing="length"),
        signed_out(),
    )
    text = str(run_line(context, "whoami"))
    assert "ann" in text
    assert "pro" in text
    assert "a***@example.com" in text
    assert "ann@" not in text
    assert "has no account now" in str(run_line(context, "logout"))
    for word in ("whoami", "signout"):
        assert "To sign in: %ollama signin" in str(run_line(context, word))


def test_a_server_without_a_way_to_ollama_com_says_so(context, fake_ollama, recording):
    fake_ollama.on("POST /api/me", answer_of(recording("me")["response"]))
    with pytest.raises(ServerError) as caught:
        run_line(context, "whoami")
    assert caught.value.lines() == [
        f"The server at {fake_ollama.url} cannot reach ollama.com.",
        "  why:  server (503): account unavailable",
        "  next: check the network of that machine, then run this again",
    ]


def test_the_embedded_engine_has_no_account(context, monkeypatch):
    monkeypatch.setattr(context.session, "host_kind", lambda client: "embedded")
    for word in ("signin", "signout", "whoami"):
        with pytest.raises(ConfigError, match="embedded engine has no account"):
            run_line(context, word)


def test_an_old_server_says_since_when_there_are_accounts(context):
    for word in ("signin", "signout", "whoami"):
        with pytest.raises(ServerError, match=r"Ollama 0.12.1 and later"):
            run_line(context, word)


def test_the_balance_and_the_use_are_shown(context, site):
    found = run_line(context, "usage")
    assert [r.path for r in site.requests] == ["/api/balance", "/api/usage?range=7d"]
    assert {r.headers["authorization"] for r in site.requests} == {f"Bearer {KEY}"}
    text = repr(found)
    assert "$72.50 of $100.00 left, resets 2026-10-15" in text
    assert "$25.00 left" in text
    assert "15 requests, 106,000 input tokens (46,000 from the cache)" in text
    assert "$0.0172" in text
    assert "█" * 20 in text
    assert KEY not in repr(found._repr_mimebundle_())
    run_line(context, "usage 30d")
    assert site.requests[-1].path == "/api/usage?range=30d"


def test_the_use_is_a_frame(context, site):
    pandas = pytest.importorskip("pandas")
    frame = run_line(context, "usage").to_frame()
    assert list(frame.request_count) == [15]
    assert frame.starts[0] == pandas.Timestamp("2026-10-01", tz="UTC")


def test_the_chart_is_a_small_image_where_matplotlib_is_installed():
    pytest.importorskip("matplotlib")
    found = list_usage(Balance(), CloudUsage.from_json(USAGE))
    html = found._repr_mimebundle_()["text/html"]
    assert "data:image/png;base64,iVBOR" in html
    assert len(html) < 40_000
    assert "<details" in html


def test_an_older_plan_counts_in_percent_and_requests():
    balance = Balance.from_json(
        {
            "included": {
                "session": {"remaining_percent": 75, "resets_at": "2026-10-15T09:30Z"},
                "weekly": {"remaining_percent": 40, "resets_at": "x"},
            }
        }
    )
    used = {"range": "24h", "totals": {"request_count": 1}, "buckets": []}
    text = repr(UsageListing(balance, CloudUsage.from_json(used)))
    assert "75% left, resets 2026-10-15" in text
    assert "40% left\n" in text
    assert "1 request\n" in text
    assert "No requests in this time." in text
    assert "$" not in text


def test_what_to_do_without_a_key_or_with_a_wrong_one(context, site, monkeypatch):
    site.on("GET /api/balance", error(401, f"invalid key {KEY}"))
    with pytest.raises(ServerError) as refused:
        run_line(context, "usage")
    assert KEY not in str(refused.value)
    assert refused.value.next_step.startswith("set OLLAMA_API_KEY to a key from https")
    limit = error(429, "too many requests")
    site.on("GET /api/balance", replace(limit, headers={"Retry-After": "42"}))
    with pytest.raises(ServerError, match=r"wait \(42 s\), then run this again"):
        run_line(context, "usage")
    count = len(site.requests)
    monkeypatch.setenv("OLLAMA_HOST", "https://gpu.example")
    with pytest.raises(ConfigError, match="may be the key of https://gpu"):
        run_line(context, "usage")
    monkeypatch.delenv("OLLAMA_API_KEY")
    with pytest.raises(ConfigError, match="OLLAMA_API_KEY is not set"):
        run_line(context, "usage")
    assert len(site.requests) == count


def test_a_kernel_shows_the_link_and_an_interrupt_removes_it(kernel, fake_ollama):
    fake_ollama.on("POST /api/me", signed_out())
    kernel.answers = []  # a user is there
    msg_id = kernel.send("%ollama signin")
    ran = kernel.collect(msg_id, until=lambda ran: "waiting for you" in ran.text)
    assert f'<a href="{URL.replace("&", "&amp;")}"' in ran.html
    kernel.manager.interrupt_kernel()
    ran = kernel.collect(msg_id)
    assert "Not signed in. For a new link: %ollama signin" in ran.text
    assert "connect?name" not in repr(ran.outputs)
