"""Which model replies if none is named: never a cloud model."""

import threading

import pytest
from fake_ollama import RESET, Answer, Wait, error, json_answer, reply_line

import ollama_magic
from ollama_magic import OllamaClient
from ollama_magic.errors import ConfigError, ModelNotFoundError
from ollama_magic.generation.models import check_cloud, server_note
from ollama_magic.generation.settings import Settings

LOCAL, OTHER = "llama3.2:3b", "qwen3:4b"
STUB = {
    "name": "gpt-oss:120b-cloud",
    "size": 384,
    "remote_model": "gpt-oss:120b",
    "remote_host": "https://ollama.com:443",
}
EMBEDS = {"name": "nomic-embed-text:latest", "capabilities": ["embedding"]}
DECIDES = {"name": "nimble:latest", "capabilities": ["decision"]}
DRAWS = {"name": "flux:latest", "capabilities": ["image"]}
MAP = "from ollama_magic import map_prompts\nmap_prompts('Say {{}}', ['a']{more})"
HTML = "<html><h1>Forbidden</h1></html>"


@pytest.fixture
def script(fake_ollama, monkeypatch):
    """Give the environment of a script: no extension is loaded."""
    monkeypatch.setenv("OLLAMA_HOST", fake_ollama.url)
    return fake_ollama


def asked(fake_ollama):
    """Return the models of all requests for a reply, in order."""
    paths = {"/api/chat", "/api/generate"}
    return [r.json["model"] for r in fake_ollama.requests if r.path in paths]


def loads(fake_ollama, *names):
    fake_ollama.on("GET /api/ps", json_answer({"models": [{"name": n} for n in names]}))


def answers_for_any_name(fake_ollama):
    """Reply for any model name, as a server that forwards to ollama.com does."""

    def answer(request):
        body = request.json | {"model": "base-name"}
        end = reply_line(body, done=True, done_reason="stop", eval_count=5)
        return Answer([reply_line(body, content="Hi."), end])

    for endpoint in ("POST /api/chat", "POST /api/generate"):
        fake_ollama.on(endpoint, answer)
    shown = {"capabilities": ["completion"], "details": {}}
    fake_ollama.on("POST /api/show", json_answer(shown))


# -- the order -----------------------------------------------------------------------


def test_use_applies_to_everything_that_names_no_model(kernel, fake_ollama):
    fake_ollama.models([LOCAL, OTHER])
    kernel.run(f"%ollama use {OTHER}")
    kernel.run(f"%%ollama {LOCAL}\nNamed")
    kernel.run("%config OllamaMagics.model = 'setting:1b'")
    kernel.run("import os; os.environ['OLLAMA_MODEL'] = 'environment:1b'")
    kernel.run("def half(x):\n    return x / 0\nhalf(1)")
    for code in (
        "%%ollama\nHi",
        "%ollama ask Hi",
        "%ollama fix",
        "%ollama explain",
        "from ollama_magic import ask, chat, stream\nask('Hi'); chat('Hi')",
        "list(stream('Hi'))",
        MAP.format(more=""),
    ):
        ran = kernel.run(code)
        assert ran.status == "ok", ran.error
    kernel.run("del os.environ['OLLAMA_MODEL']")
    assert asked(fake_ollama) == [LOCAL, *[OTHER] * 8]


def test_each_source_of_the_model_overrides_the_next(kernel, fake_ollama):
    names = ["used:1b", "turn:1b", "setting:1b", "environment:1b"]
    fake_ollama.models(["listed:1b", *names])
    hi = "%%ollama\nHi"
    kernel.run(hi, "a")
    kernel.run("import os; os.environ['OLLAMA_MODEL'] = 'environment:1b'")
    kernel.run(hi, "a")
    kernel.run("%config OllamaMagics.model = 'setting:1b'")
    kernel.run(hi, "a")
    kernel.run("%%ollama turn:1b\nHi", "b")
    kernel.run(hi, "c")
    kernel.run("%ollama use used:1b")
    kernel.run(hi, "d")
    kernel.run("del os.environ['OLLAMA_MODEL']")
    sources = ["listed:1b", "environment:1b", "setting:1b", "turn:1b"]
    assert asked(fake_ollama) == [*sources, "turn:1b", "used:1b"]


def test_blanks_around_a_default_model_are_ignored(kernel, fake_ollama):
    """A blank variable, as in some `.env` files, counts as not set."""
    fake_ollama.models([LOCAL, OTHER])
    for blank in (" ", "\t"):
        kernel.run(f"import os; os.environ['OLLAMA_MODEL'] = {blank!r}")
        assert kernel.run("%%ollama -1\nHi").status == "ok"
        assert "(selected automatically)" in kernel.run("%ollama").text
    kernel.run(f"os.environ['OLLAMA_MODEL'] = ' {OTHER} '")
    kernel.run("%%ollama -1\nHi")
    kernel.run(f"%config OllamaMagics.model = ' {LOCAL} '")
    kernel.run("%%ollama -1\nHi")
    kernel.run("del os.environ['OLLAMA_MODEL']")
    assert asked(fake_ollama) == [LOCAL, LOCAL, OTHER, LOCAL]


def test_a_turn_with_a_future_date_does_not_override_use(kernel, fake_ollama):
    fake_ollama.models([LOCAL, OTHER])
    kernel.run(f"%ollama use {OTHER}")
    kernel.run(f"%%ollama {LOCAL}\nHi", "a")
    kernel.run(
        "import contextlib, sqlite3\n"
        "path = get_ipython().meta['ollama_magic'].session.store.path\n"
        "with contextlib.closing(sqlite3.connect(path)) as database, database:\n"
        "    database.execute('UPDATE turns SET answered_at = ?, added_at = ?',\n"
        "                     ['2999-01-01T00:00:00'] * 2)\n"
        "    database.execute('UPDATE chats SET revision = revision + 1')"
    )
    assert "never" in kernel.run("%ollama history").text
    kernel.run("%%ollama\nHi", "b")
    assert asked(fake_ollama)[-1] == OTHER


def test_use_in_the_panel_sets_the_same_model(kernel, fake_ollama):
    fake_ollama.models([LOCAL, OTHER])
    kernel.run("panel = %ollama panel")
    kernel.run(f"panel._use({OTHER!r}, '')")
    kernel.run(f"%%ollama {LOCAL}\nHi")
    kernel.run("%%ollama\nHi")
    assert asked(fake_ollama) == [LOCAL, OTHER]
    kernel.run("panel.close()")


def test_scripts_and_map_prompts_use_the_model_of_the_chat(script):
    script.models([LOCAL, OTHER])
    ollama_magic.chat("Hi", model=OTHER)
    ollama_magic.map_prompts("{}", ["a"])
    assert ollama_magic.ask("Hi").model == OTHER
    assert asked(script) == [OTHER] * 3


# -- the default ---------------------------------------------------------------------


@pytest.mark.parametrize("first", [EMBEDS, DECIDES, DRAWS, STUB, {"name": "k:cloud"}])
def test_models_that_cannot_chat_and_cloud_models_are_never_the_default(
    kernel, fake_ollama, first
):
    fake_ollama.models([first, LOCAL])
    assert kernel.run("%%ollama\nHi").status == "ok"
    kernel.run("from ollama_magic import ask\nask('Hi')")
    kernel.run(MAP.format(more=""))
    assert asked(fake_ollama) == [LOCAL] * 3


def test_a_loaded_model_is_preferred_to_a_newer_one(kernel, fake_ollama):
    fake_ollama.models([EMBEDS, "newest:1b", OTHER, LOCAL])
    loads(fake_ollama, EMBEDS["name"], LOCAL)
    kernel.run("%%ollama\nHi")
    assert f"{LOCAL} (the chat's last turn)" in kernel.run("%ollama").text
    kernel.run(MAP.format(more=""))
    assert asked(fake_ollama) == [LOCAL] * 2


def test_a_model_with_unknown_capabilities_can_be_the_default(script):
    script.models([EMBEDS, {"name": LOCAL, "capabilities": None}])
    assert ollama_magic.ask("Hi").model == LOCAL


@pytest.mark.parametrize("code", ["%%ollama\nHi", MAP.format(more="")])
def test_without_a_default_the_error_lists_the_models(kernel, fake_ollama, code):
    fake_ollama.models([EMBEDS, STUB])
    assert kernel.run(code).error.splitlines() == [
        "ConfigError: No model is named, and the server has no local model that can "
        "chat.",
        "  why:  it has nomic-embed-text:latest (embedding), gpt-oss:120b-cloud "
        "(cloud)",
        "  next: choose one: %ollama use gpt-oss:120b-cloud   to send prompts there, "
        "or %ollama pull llama3.2   for a local model",
    ]
    assert asked(fake_ollama) == []


def test_without_a_default_the_error_in_a_script_lists_the_models(script):
    script.models([DECIDES, DRAWS])
    with pytest.raises(ConfigError, match="no local model that can chat") as caught:
        ollama_magic.ask("Hi")
    assert "nimble:latest (decision), flux:latest (image)" in caught.value.why
    assert "use" not in caught.value.next_step


def test_embed_never_uses_a_cloud_model_by_default(script):
    script.models([{**EMBEDS, "name": "embed:cloud"}])
    with pytest.raises(ConfigError, match="no embedding model"):
        ollama_magic.embed("secret")


def test_a_model_that_cannot_chat_is_not_used(kernel, fake_ollama):
    fake_ollama.models([EMBEDS, OTHER, LOCAL])
    ran = kernel.run("%ollama use nomic-embed-text")
    what, why, next_step = ran.error.splitlines()
    assert what.startswith("CapabilityError: Model 'nomic-embed-text:latest' does not")
    assert why == "  why:  its capabilities: embedding"
    assert next_step.startswith("  next: ")
    assert OTHER in next_step
    assert LOCAL in next_step
    kernel.run("%%ollama\nHi")
    assert asked(fake_ollama) == [OTHER]


def test_status_and_doctor_show_the_default_model_and_its_source(kernel, fake_ollama):
    fake_ollama.models([STUB, OTHER, LOCAL])
    assert f"Model     {OTHER} (selected automatically)" in kernel.run("%ollama").text
    assert f"{OTHER} (selected automatically)" in kernel.run("%ollama doctor").text
    kernel.run(f"%ollama use {LOCAL}")
    assert f"Model     {LOCAL} (%ollama use)" in kernel.run("%ollama").text
    said = kernel.run("%ollama use gpt-oss:120b-cloud").text
    place = "a cloud model: prompts are sent to https://ollama.com:443"
    assert said == f"This notebook now uses gpt-oss:120b-cloud, {place}"
    told = " ".join(kernel.run("%ollama doctor").text.split())
    assert f"gpt-oss:120b-cloud (%ollama use), {place}" in told
    assert "3 installed" in told
    assert "including 1 cloud model" in told
    fake_ollama.models([EMBEDS])
    kernel.run("%config OllamaMagics.notebook = 'another.ipynb'")
    assert "none selected: No model is named" in kernel.run("%ollama").text


# -- the footer ----------------------------------------------------------------------


def test_the_footer_says_when_the_model_changes(kernel, fake_ollama):
    fake_ollama.models([LOCAL, OTHER, "m:latest"])
    ran = [
        kernel.run(f"%%ollama {model}\nHi", cell)
        for model, cell in [
            (LOCAL, "a"),
            (OTHER, "b"),
            (OTHER, "c"),
            ("m", "d"),
            ("m:latest", "e"),
            (f"-1 {OTHER}", "f"),
        ]
    ]
    told = [f"previous turn: {name}" for name in (LOCAL, OTHER)]
    found = [[one for one in told if one in each.html] for each in ran]
    assert found == [[], [told[0]], [], [told[1]], [], []]
    ran = kernel.run(f"%%ollama --compare {LOCAL},{OTHER}\nHi", "g")
    assert "previous turn" not in ran.html
    assert "previous turn: m:latest" in kernel.run(f"%ollama keep {OTHER}").html


# -- the cloud -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["gpt-oss:120b-cloud", "kimi-k2.6:cloud", "me/mine:CLOUD", "h.co:5/a:b-cloud"],
)
def test_an_unlisted_cloud_model_is_shown_as_a_cloud_model(kernel, fake_ollama, name):
    answers_for_any_name(fake_ollama)
    place = "cloud model, answered at ollama.com"
    ran = kernel.run(f"%%ollama {name}\nmy secret")
    assert ran.status == "ok", ran.error
    assert place in ran.html
    assert ran.provenance["host_kind"] == "cloud"
    assert place in kernel.run(f"%ollama ask -1 -m {name} secret").html
    assert place in kernel.run(MAP.format(more=f", model={name!r}")).text
    both = kernel.run(f"%%ollama --compare {LOCAL},{name}\nHi")
    assert both.text.count(place) == 1
    kinds = [one["host_kind"] for one in both.provenance["compared"]]
    assert kinds == ["loopback", "cloud"]
    sent = len(asked(fake_ollama))
    dry = kernel.run(f"%%ollama --dry-run {name}\nHi").text
    assert dry.endswith("a cloud model: this server forwards the prompt to ollama.com")
    assert len(asked(fake_ollama)) == sent


@pytest.mark.parametrize(
    "name", ["llama3.2:3b", "my-cloud", "x:cloud-2", "y:cloud:local", "h-cloud/a:1b"]
)
def test_a_local_model_is_not_shown_as_a_cloud_model(kernel, fake_ollama, name):
    answers_for_any_name(fake_ollama)
    ran = kernel.run(f"%%ollama {name}\nHi")
    assert ran.status == "ok", ran.error
    assert "cloud model" not in ran.html
    assert ran.provenance["host_kind"] == "loopback"


def test_a_cloud_model_with_another_name_is_recognised_by_its_response(
    kernel, fake_ollama
):
    fake_ollama.on("GET /api/tags", error(403, "no"))
    line = reply_line({"model": "mine", "messages": []}, content="Hi", done=True)
    place = {"remote_model": "gpt-oss:120b", "remote_host": "https://ollama.com:443"}
    fake_ollama.on("POST /api/chat", Answer([line | place]))
    ran = kernel.run("%%ollama mine\nHi")
    assert "cloud model, answered at https://ollama.com:443" in ran.html
    assert ran.provenance["host_kind"] == "cloud"


ALIAS = {**STUB, "name": "mine:latest"}
UNNAMED = (
    "%%ollama\nmy secret",
    "%ollama ask my secret",
    "from ollama_magic import ask, chat, stream\nask('Hi'); chat('Hi')",
    "from ollama_magic import stream\nlist(stream('Hi'))",
    MAP.format(more=""),
    "%ollama fix",
)


@pytest.mark.parametrize("name", ["kimi:cloud", STUB["name"], "mine"])
@pytest.mark.parametrize("keeps", [False, True], ids=["named", "kept"])
def test_a_cloud_model_named_on_one_cell_is_used_for_no_other(
    kernel, fake_ollama, name, keeps
):
    fake_ollama.models([STUB, ALIAS, OTHER, LOCAL])
    answers_for_any_name(fake_ollama)
    kernel.run(f"%%ollama {LOCAL}\nHi")
    if keeps:
        kernel.run(f"%%ollama --compare {LOCAL},{name}\nHi")
        assert kernel.run(f"%ollama keep {name}").status == "ok"
    else:
        kernel.run(f"%%ollama {name}\nHi")
    assert f"{LOCAL} (an earlier turn of the chat)" in kernel.run("%ollama").text
    kernel.run("1 / 0")
    before = len(asked(fake_ollama))
    for code in UNNAMED:
        ran = kernel.run(code)
        assert ran.status == "ok", ran.error
    assert asked(fake_ollama)[before:] == [LOCAL] * 7
    ran = kernel.run(f"%ollama use {name}")
    assert ran.status == "ok", ran.error
    kernel.run("%%ollama\nHi")
    assert asked(fake_ollama)[-1].partition(":")[0] == name.partition(":")[0]


@pytest.mark.parametrize("code", UNNAMED[:-1])
def test_a_chat_of_a_cloud_model_only_continues_with_the_default(
    kernel, fake_ollama, code
):
    fake_ollama.models([STUB, OTHER])
    answers_for_any_name(fake_ollama)
    kernel.run(f"%%ollama {STUB['name']}\nHi")
    assert kernel.run(code).status == "ok"
    assert set(asked(fake_ollama)[1:]) == {OTHER}


@pytest.mark.parametrize("code", UNNAMED[:-1])
def test_a_default_name_that_became_a_cloud_model_is_not_used(
    kernel, fake_ollama, code
):
    fake_ollama.models(["mine:latest", OTHER])
    kernel.run("%%ollama mine\nHi")
    fake_ollama.models([ALIAS, OTHER])
    assert kernel.run(code).status == "ok"
    assert set(asked(fake_ollama)[1:]) == {OTHER}
    assert f"{OTHER} (" in kernel.run("%ollama doctor").text


def test_a_cloud_model_known_only_from_its_reply_is_not_used_again(kernel, fake_ollama):
    fake_ollama.on("GET /api/tags", error(403, "no"))
    line = reply_line({"model": "mine", "messages": []}, content="Hi", done=True)
    place = {"remote_model": "gpt-oss:120b", "remote_host": "https://ollama.com:443"}
    fake_ollama.on("POST /api/chat", Answer([line | place]))
    kernel.run("%%ollama mine\nHi")
    assert kernel.run("%%ollama\nmy secret").status == "error"
    kernel.run(f"%config OllamaMagics.model = {LOCAL!r}")
    kernel.run("%%ollama\nmy secret")
    assert asked(fake_ollama) == ["mine", LOCAL]


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ("kimi:cloud", "ollama.com"),
        ("gpt-oss:120b-cloud", "https://ollama.com:443"),
        (f"--compare {LOCAL},kimi:cloud", "ollama.com"),
    ],
)
def test_the_cloud_host_is_shown_while_waiting(kernel, fake_ollama, options, place):
    fake_ollama.models([LOCAL, STUB])
    answers_for_any_name(fake_ollama)
    gate, seen = threading.Event(), []

    def answer(request):
        body = request.json
        return Answer([Wait(gate), reply_line(body, content="Hi.", done=True)])

    fake_ollama.on("POST /api/chat", answer)

    def watch(ran):
        if f"sending to {place}…" in ran.html:
            seen.append(ran.html)
            gate.set()

    ran = kernel.collect(kernel.send(f"%%ollama {options}\nHi"), until=watch)
    assert ran.status == "ok", ran.error
    assert seen


@pytest.mark.parametrize("name", ["kimi:cloud", STUB["name"], "mine"])
def test_without_allow_cloud_no_prompt_is_sent_to_a_cloud_model(
    kernel, fake_ollama, name
):
    fake_ollama.models([STUB, ALIAS, LOCAL])
    answers_for_any_name(fake_ollama)
    kernel.run("%config OllamaMagics.allow_cloud = False\nimport ollama_magic")
    for code in (
        f"%%ollama {name}\nmy secret",
        f"%%ollama --compare {LOCAL},{name}\nmy secret",
        f"%ollama ask -1 -m {name} my secret",
        f"%ollama use {name}",
        f"list(ollama_magic.stream('my secret', model={name!r}))",
        MAP.format(more=f", model={name!r}"),
    ):
        ran = kernel.run(code)
        assert "is a cloud model: its prompts are sent to" in ran.error, code
        assert "OllamaMagics.allow_cloud = None" in ran.error
    assert asked(fake_ollama) == []
    assert kernel.run("%%ollama\nHi").status == "ok"


def test_without_allow_cloud_the_server_must_list_its_models(kernel, fake_ollama):
    """A local name may be a copy of a cloud model, and only the list says so."""
    fake_ollama.on("GET /api/tags", error(403, "no"))
    kernel.run("%config OllamaMagics.allow_cloud = False")
    for code in ("%%ollama mine\nHi", MAP.format(more=", model='mine'")):
        assert kernel.run(code).status == "error"
    assert asked(fake_ollama) == []


def test_without_allow_cloud_ollama_com_is_rejected_as_host():
    never = Settings(allow_cloud=False)
    for host in ("ollama.com", "https://ollama.com/", "https://OLLAMA.com:443/v1"):
        with pytest.raises(ConfigError, match=r"prompts are sent to ollama\.com"):
            check_cloud(never, OllamaClient(host), "gpt-oss:120b", "")
    for host in ("http://ollama.lan", "http://ollama.com.lan"):
        check_cloud(never, OllamaClient(host), "gpt-oss:120b", "")


def test_with_allow_cloud_a_cloud_model_can_be_the_default(kernel, fake_ollama):
    fake_ollama.models([STUB, LOCAL])
    answers_for_any_name(fake_ollama)
    kernel.run("%config OllamaMagics.allow_cloud = True")
    for code in ("%%ollama\nHi", MAP.format(more="")):
        assert kernel.run(code).status == "ok"
    assert asked(fake_ollama) == [STUB["name"]] * 2
    kernel.run(f"%%ollama {LOCAL}\nHi")
    kernel.run("%%ollama kimi:cloud\nHi")
    kernel.run("%%ollama\nHi")  # continues with the model of the last turn
    assert asked(fake_ollama)[-1] == "kimi:cloud"


def test_a_cloud_model_of_another_machine_is_named_with_that_machine():
    note = server_note("remote", "http://gpu:11434", "ollama.com")
    wanted = "cloud model, answered at ollama.com through http://gpu:11434"
    assert note == wanted
    assert wanted.startswith(server_note("loopback", "http://[::1]", "ollama.com"))


def test_the_context_of_a_cloud_model_is_shown_as_its_list_says(kernel, fake_ollama):
    fake_ollama.models([{**STUB, "details": {"context_length": 40}}])
    ran = kernel.run(f"%%ollama {STUB['name']}\nHi")
    assert "context 60% of 40" in ran.html
    loaded = kernel.run(f"%ollama load {STUB['name']}").text
    assert loaded.endswith("a cloud model, which is never in memory here")


def test_lists_show_cloud_instead_of_a_size(kernel, fake_ollama):
    fake_ollama.models([STUB, {"name": "k:cloud", "size": 384}, LOCAL])
    loads(fake_ollama, "k:cloud")
    for line in ("list", "ps", "panel"):
        ran = kernel.run(f"%ollama {line}")
        assert "cloud" in ran.text.replace("-cloud", "").replace(":cloud", "")
        assert "384 B" not in ran.text
    fake_ollama.on("POST /api/show", json_answer({**STUB, "details": {}}))
    page = kernel.run("%ollama show gpt-oss:120b-cloud").text
    assert "answered at https://ollama.com:443 as gpt-oss:120b" in page


# -- a name without a tag ------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "installed"),
    [
        ("llama3.2", ["llama3.2:3b"]),
        ("Llama3.2", [OTHER, "llama3.2:3b", "llama3.2-vision:11b"]),
        ("library/llama3.2", ["llama3.2:3b"]),
    ],
)
def test_a_name_without_a_tag_means_the_only_tag(kernel, fake_ollama, given, installed):
    fake_ollama.models(installed)
    told = f"only installed tag of {given}"
    assert told in kernel.run(f"%%ollama {given}\nHi").html
    assert told in kernel.run(f"%ollama ask -m {given} Hi").html
    ran = kernel.run(f"from ollama_magic import ask\nr = ask('Hi', model={given!r})\nr")
    assert told in ran.html
    ran = kernel.run(MAP.format(more=f", model={given!r}"))
    assert told in ran.text
    assert set(asked(fake_ollama)) == {"llama3.2:3b"}
    assert (
        kernel.run(f"%ollama use {given}").text == "This notebook now uses llama3.2:3b"
    )


def test_a_name_without_a_tag_in_a_comparison_means_the_only_tag(kernel, fake_ollama):
    fake_ollama.models([LOCAL, OTHER])
    ran = kernel.run("%%ollama both << --compare llama3.2,qwen3\nHi")
    assert ran.status == "ok", ran.error
    assert sorted(asked(fake_ollama)) == [LOCAL, OTHER]
    assert "only installed tag of llama3.2" in ran.text
    assert kernel.run("print(both['llama3.2'].model)").streams == f"{LOCAL}\n"
    assert kernel.run("%ollama keep qwen3").status == "ok"
    ran = kernel.run("%%ollama --compare llama3.2,llama3.2:3b\nHi")
    assert "'llama3.2' and 'llama3.2:3b' are the same model here." in ran.error


@pytest.mark.parametrize(
    ("models", "said"),
    [
        (["llama3.2:1b", "llama3.2:3b"], "llama3.2:1b, llama3.2:3b"),
        (
            [{**STUB, "name": "llama3.2:x-cloud"}, LOCAL],
            "llama3.2:x-cloud (cloud), llama3.2:3b",
        ),
        ([{**STUB, "name": "llama3.2:x-cloud"}], "llama3.2:x-cloud (cloud)"),
    ],
    ids=["two", "one in the cloud", "only in the cloud"],
)
def test_an_ambiguous_name_is_an_error(kernel, fake_ollama, models, said):
    fake_ollama.models(models)
    name = "llama3.2"
    for code in (
        f"%%ollama {name}\nHi",
        f"%ollama use {name}",
        MAP.format(more=f", model={name!r}"),
        f"%%ollama --compare {name},other\nHi",
        f"from ollama_magic import ask\nask('Hi', model={name!r})",
    ):
        ran = kernel.run(code)
        assert ran.error.startswith(
            f"ModelNotFoundError: The name {name!r} needs a tag"
        )
        assert f"  why:  installed: {said}; not installed: {name}:latest" in ran.error
    assert asked(fake_ollama) == []


def test_a_name_without_a_tag_means_latest_first(script):
    script.models(["llama3.2:1b", "llama3.2:latest"])
    assert ollama_magic.ask("Hi", model="llama3.2").model == "llama3.2"
    with pytest.raises(ModelNotFoundError):
        ollama_magic.ask("Hi", model="llama3.2:7b")


def test_a_name_without_a_tag_finds_cached_replies_without_a_server(
    kernel, fake_ollama
):
    fake_ollama.models([OTHER, LOCAL])
    kernel.run("%config OllamaMagics.cached = True")
    cells = {"a": "%%ollama llama3.2\nHi", "b": "%%ollama\nSure?"}
    first = [kernel.run(code, cell).html for cell, code in cells.items()]
    rows = MAP.format(more=", model='llama3.2'")
    value = kernel.run(rows, "c").outputs[-1]["data"]
    kernel.run("%config OllamaMagics.host = '127.0.0.1:1'", "d")
    assert [kernel.run(code, cell).html for cell, code in cells.items()] == first
    assert kernel.run(rows, "c").outputs[-1]["data"] == value


# -- run -----------------------------------------------------------------------------


def test_run_takes_the_model_as_its_first_argument(kernel, fake_ollama):
    fake_ollama.models([LOCAL, OTHER])
    ran = kernel.run(f'%ollama run {OTHER} what\'s {{x}} and "why"?')
    assert ran.status == "ok", ran.error
    (body,) = fake_ollama.bodies("/api/chat")
    assert body["model"] == OTHER
    assert body["messages"][-1]["content"] == 'what\'s {x} and "why"?'
    kernel.run("%ollama run -t 0 llama3.2 --seed 1 Hi")
    body = fake_ollama.bodies("/api/chat")[-1]
    assert (body["model"], body["options"]) == (LOCAL, {"temperature": 0, "seed": 1})
    kernel.run(f"r = %ollama run {OTHER} Hi?\nprint(r.model)")
    assert fake_ollama.bodies("/api/chat")[-1]["messages"][-1]["content"] == "Hi?"


@pytest.mark.parametrize(
    "line", ["run qwen3:4b", "run -t 0 qwen3:4b", "run qwen3:4b -q"]
)
def test_run_without_a_prompt_says_what_to_type(kernel, fake_ollama, line):
    ran = kernel.run(f"%ollama {line}")
    assert ran.status == "error"
    assert "next: %%ollama qwen3:4b   with the prompt below it" in said(ran)
    assert asked(fake_ollama) == []


@pytest.mark.parametrize(
    ("code", "step"),
    [
        ("%%ollama list\nHi", "next: %ollama list "),
        ("%%ollama rm\nHi", "next: %ollama help rm "),
        ("%%ollama show llama3.2", "or the subcommand: %ollama show llama3.2"),
    ],
)
def test_a_cell_that_names_a_subcommand_says_what_to_type(
    kernel, fake_ollama, code, step
):
    ran = kernel.run(code)
    assert ran.status == "error"
    assert step in said(ran)


def test_a_model_may_have_the_name_of_a_subcommand(kernel, fake_ollama):
    fake_ollama.models(["fix:latest"])
    assert kernel.run("%%ollama -m fix\nHi").status == "ok"


def said(ran):
    return (ran.error or "") + ran.streams


# -- servers without a list ----------------------------------------------------------


STRANGE = {
    "403 page": Answer([HTML], status=403, content_type="text/html"),
    "404 page": Answer([HTML], status=404, content_type="text/html"),
    "200 page": Answer([HTML], content_type="text/html"),
    "list": Answer(["[]"], content_type="application/json"),
    "empty": Answer([], framing="length"),
    "other": json_answer({"object": "list"}),
    "proxy": json_answer({"http://ollama:11434": {"models": []}}),
    "refusal": error(501, "not implemented"),
}
LISTS = [["ps"], ["tags"], ["ps", "tags", "show"]]


@pytest.mark.parametrize(
    ("endpoints", "answer"),
    [(lists, answer) for lists in LISTS for answer in STRANGE.values()]
    + [(lists, Answer([RESET], raw=True)) for lists in LISTS[:2]],
)
def test_a_server_that_does_not_list_models_can_reply(
    kernel, fake_ollama, answer, endpoints
):
    for name in endpoints:
        method = "POST" if name == "show" else "GET"
        fake_ollama.on(f"{method} /api/{name}", answer)
    for code in (
        f"%%ollama {LOCAL}\nHi",
        f"from ollama_magic import ask\nask('Hi', model={LOCAL!r})",
        MAP.format(more=f", model={LOCAL!r}"),
    ):
        ran = kernel.run(code)
        assert ran.status == "ok", ran.error
    assert asked(fake_ollama) == [LOCAL] * 3


@pytest.mark.parametrize("endpoints", [["ps"], ["tags", "ps"]])
def test_a_list_that_hangs_does_not_delay_the_reply(kernel, fake_ollama, endpoints):
    never = threading.Event()
    for name in endpoints:
        fake_ollama.on(f"GET /api/{name}", Answer(hold_headers=never))
    ran = kernel.run(f"%%ollama {LOCAL}\nHi")
    assert ran.status == "ok", ran.error
    hanging = [r for r in fake_ollama.requests if r.path == f"/api/{endpoints[0]}"]
    assert hanging == [] or all(one.wait_closed() for one in hanging)


def test_an_error_of_a_required_list_is_raised(kernel, fake_ollama):
    fake_ollama.on("GET /api/tags", STRANGE["403 page"])
    refused = kernel.run("%%ollama\nHi").error
    assert "refused to list its models" in refused
    assert "next: name the model: %%ollama MODEL; or a proxy in front" in refused
    assert asked(fake_ollama) == []
