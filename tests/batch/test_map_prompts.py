"""``map_prompts``: requests, order, schemas, errors and the cache."""

import json
import threading
from dataclasses import dataclass

import pytest
from fake_ollama import PATIENCE_S, Wait, error, json_answer, reply_line

from ollama_magic import map_prompts
from ollama_magic.client.types import GenerateRequest
from ollama_magic.errors import (
    CapabilityError,
    ConfigError,
    ContextExceededError,
    ModelNotFoundError,
    OllamaMagicError,
    PromptError,
    ReplyDataError,
    ServerError,
    ServerUnreachableError,
)
from ollama_magic.history.cache import request_key
from ollama_magic.history.store import ChatStore, default_path

pd = pytest.importorskip("pandas")
pydantic = pytest.importorskip("pydantic")

SENTIMENT = "label: one of pos, neg"


@pytest.fixture(autouse=True)
def configured(fake_ollama, monkeypatch):
    """Configure the fake server, which repeats the prompt."""
    monkeypatch.setenv("OLLAMA_HOST", fake_ollama.url)
    fake_ollama.chat(lambda body: says(body, f"re: {body['prompt']}"))


def says(body, text, **end):
    end = {"done_reason": "stop", "eval_count": 1} | end
    return [reply_line(body, content=text), reply_line(body, done=True, **end)]


def asked(fake_ollama):
    return [body["prompt"] for body in fake_ollama.bodies("/api/generate")]


# -- order and concurrency ---------------------------------------------------------


def test_replies_are_in_the_order_of_the_rows(fake_ollama, elsewhere):
    """The first row is answered last."""
    first = threading.Event()

    def answer(body):
        wait = [Wait(first)] if body["prompt"] == "Say 0" else []
        return [*wait, *says(body, body["prompt"].upper())]

    fake_ollama.chat(answer)
    call = elsewhere(map_prompts, "Say {}", range(6), concurrency=2)
    fake_ollama.wait_for("/api/generate", count=6)
    first.set()
    assert call.result() == [f"SAY {n}" for n in range(6)]


def test_concurrency_is_the_number_of_rows_sent_at_a_time(fake_ollama, elsewhere):
    full, gate, lock = threading.Event(), threading.Event(), threading.Lock()
    at_once = [0, 0]

    def answer(body):
        with lock:
            at_once[0] += 1
            at_once[1] = max(at_once)
            if at_once[0] == 3:
                full.set()
        yield Wait(gate)
        with lock:
            at_once[0] -= 1
        yield from says(body, "ok")

    fake_ollama.chat(answer)
    call = elsewhere(map_prompts, "Say {}", range(9), concurrency=3)
    assert full.wait(PATIENCE_S)
    gate.set()
    assert call.result() == ["ok"] * 9
    assert at_once == [0, 3]


def test_equal_rows_are_sent_once(fake_ollama):
    assert map_prompts("{}", list("abab")) == ["re: a", "re: b", "re: a", "re: b"]
    assert sorted(asked(fake_ollama)) == ["a", "b"]


def test_equal_rows_do_not_share_their_data(fake_ollama):
    fake_ollama.chat(lambda body: says(body, '{"label": "pos"}'))
    one, other = map_prompts("{}", ["a", "a"], schema=SENTIMENT)
    one["label"] = "changed"
    assert other == {"label": "pos"}


def test_ten_thousand_equal_rows_are_one_request(fake_ollama):
    assert map_prompts("{}", ["a"] * 10_000) == ["re: a"] * 10_000
    assert len(asked(fake_ollama)) == 1


# -- what is sent --------------------------------------------------------------------


def test_a_row_is_a_generate_request_with_all_arguments(fake_ollama):
    fake_ollama.models([{"name": "m:1b", "capabilities": ["completion", "thinking"]}])
    map_prompts(
        "Say {}",
        ["a"],
        model="m:1b",
        system="Be terse.",
        options={"temperature": 0},
        format="json",
        think="low",
        keep_alive="10m",
        truncate="warn",
    )
    assert fake_ollama.bodies("/api/generate") == [
        {
            "model": "m:1b",
            "prompt": "Say a",
            "system": "Be terse.",
            "stream": True,
            "options": {"temperature": 0},
            "format": "json",
            "think": "low",
            "keep_alive": "10m",
        }
    ]


def test_arguments_that_are_not_given_are_not_sent(fake_ollama):
    map_prompts("Say {}", ["a"])
    assert fake_ollama.bodies("/api/generate") == [
        {
            "model": "llama3.2:3b",
            "prompt": "Say a",
            "truncate": False,
            "stream": True,
        }
    ]


def test_the_model_is_taken_from_the_environment(fake_ollama, monkeypatch):
    fake_ollama.models(["newest:1b", "wanted:1b"])
    monkeypatch.setenv("OLLAMA_MODEL", "wanted:1b")
    map_prompts("{}", ["a"])
    assert fake_ollama.bodies("/api/generate")[0]["model"] == "wanted:1b"


def test_without_a_default_the_newest_model_that_can_chat_is_used(fake_ollama):
    embedding = {"name": "embed:1b", "capabilities": ["embedding"]}
    fake_ollama.models([embedding, "newest:1b", "older:1b"])
    map_prompts("{}", ["a"])
    assert fake_ollama.bodies("/api/generate")[0]["model"] == "newest:1b"


def test_an_empty_prompt_is_an_error_and_loads_no_model(fake_ollama):
    first, second = map_prompts("{}", [None, "a"])
    assert isinstance(first, PromptError)
    assert second == "re: a"
    assert asked(fake_ollama) == ["a"]


def test_no_rows_send_no_request(fake_ollama):
    assert map_prompts("{}", []) == []
    assert fake_ollama.requests == []


def test_thinking_is_not_part_of_the_text(fake_ollama):
    fake_ollama.chat(lambda body: says(body, "<think>Hm.</think>\n\nYes."))
    assert map_prompts("{}", ["a"]) == ["Yes."]


# -- schemas -------------------------------------------------------------------------


def test_a_schema_gives_data(fake_ollama):
    fake_ollama.chat(lambda body: says(body, '{"label": "pos"}'))
    assert map_prompts("{}", ["a"], schema=SENTIMENT) == [{"label": "pos"}]
    (body,) = fake_ollama.bodies("/api/generate")
    assert body["format"]["properties"] == {"label": {"enum": ["pos", "neg"]}}
    assert "think" not in body


def test_a_dataframe_returns_columns_with_the_same_index(fake_ollama):
    def answer(body):
        if body["prompt"] == "Is it bad?":
            return error(500, "no luck")
        return says(body, '{"label": "pos"}')

    fake_ollama.chat(answer)
    table = pd.DataFrame({"text": ["good", "bad"]}, index=["x", "y"])
    found = map_prompts("Is it {text}?", table, schema=SENTIMENT)
    assert list(found.columns) == ["label", "error"]
    assert found.label.tolist()[0] == "pos"
    assert pd.isna(found.label["y"])
    assert found.error["x"] is None
    assert isinstance(found.error["y"], ServerError)
    assert table.join(found).text.tolist() == ["good", "bad"]


def test_a_series_returns_a_series():
    found = map_prompts("{}", pd.Series(["a", "b"], index=[3, 1]))
    expected = pd.Series(["re: a", "re: b"], [3, 1], dtype=object, name="reply")
    pd.testing.assert_series_equal(found, expected)


def test_a_list_schema_gives_a_series_of_lists(fake_ollama):
    fake_ollama.chat(lambda body: says(body, '[{"name": "Ada"}]'))
    found = map_prompts("{}", pd.Series(["a"]), schema="[name]")
    assert found.tolist() == [[{"name": "Ada"}]]


@dataclass
class Label:
    label: str
    sure: bool = True


class Age(pydantic.BaseModel):
    age: int = pydantic.Field(alias="howOld")

    @pydantic.field_validator("age")
    @classmethod
    def is_possible(cls, value):
        assert value < 150, "nobody is that old"
        return value


def test_a_class_as_schema_gives_instances(fake_ollama):
    fake_ollama.chat(lambda body: says(body, '{"label": "pos"}'))
    assert map_prompts("{}", ["a"], schema=Label) == [Label("pos")]


def test_a_pydantic_model_gives_columns_named_as_in_its_schema(fake_ollama):
    fake_ollama.chat(lambda body: says(body, '{"howOld": 36}'))
    found = map_prompts("{}", pd.Series(["a"]), schema=Age)
    assert found.to_dict("records") == [{"howOld": 36, "error": None}]


def test_data_that_a_class_rejects_is_the_error_of_its_row(fake_ollama):
    def answer(body):
        age = body["prompt"] if "prompt" in body else body["messages"][0]["content"]
        return says(body, f'{{"howOld": {age}}}')

    fake_ollama.chat(answer)
    good, bad = map_prompts("{}", [36, 360], schema=Age)
    assert good.age == 36
    assert isinstance(bad, ReplyDataError)
    assert bad.why.startswith("at howOld: nobody is that old")
    (repair,) = fake_ollama.bodies("/api/chat")  # it was requested once more
    assert "at howOld: nobody is that old" in repair["messages"][-1]["content"]


def test_a_reply_that_does_not_match_is_requested_once_more(fake_ollama):
    def answer(body):
        is_second = "messages" in body
        return says(body, '{"label": "pos"}' if is_second else '{"label": "good"}')

    fake_ollama.chat(answer)
    assert map_prompts("{}", ["a"], schema=SENTIMENT) == [{"label": "pos"}]
    (repair,) = fake_ollama.bodies("/api/chat")
    assert "'good' is not one of" in repair["messages"][-1]["content"]


def test_a_second_mismatch_is_the_error_of_its_row(fake_ollama):
    def answer(body):
        text = str(body)
        return says(body, '{"label": "good"}' if "Row b" in text else '{"label":"neg"}')

    fake_ollama.chat(answer)
    good, bad = map_prompts("Row {}", ["a", "b"], schema=SENTIMENT)
    assert good == {"label": "neg"}
    assert isinstance(bad, ReplyDataError)
    assert len(fake_ollama.bodies("/api/chat")) == 1


def test_a_reply_cut_off_at_num_predict_is_not_requested_again(fake_ollama):
    fake_ollama.chat(lambda body: says(body, '{"label', done_reason="length"))
    (cut,) = map_prompts("{}", ["a"], schema=SENTIMENT)
    assert cut.what == "The reply was cut off at num_predict, so it is not valid data."
    assert len(fake_ollama.bodies("/api/chat")) == 0


# -- errors --------------------------------------------------------------------------


def test_a_failed_row_does_not_affect_the_others(fake_ollama):
    def answer(body):
        fails = body["prompt"] == "b"
        return [{"error": "out of memory"}] if fails else says(body, "ok")

    fake_ollama.chat(answer)
    first, second, third = map_prompts("{}", ["a", "b", "c"])
    assert (first, third) == ("ok", "ok")
    assert isinstance(second, ServerError)
    assert "out of memory" in second.why


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"template": "{txet}", "data": [{"text": "a"}]}, PromptError),
        ({"template": "{}", "data": "text"}, PromptError),
        ({"schema": "age integer"}, PromptError),
        ({"schema": {"type": "nonsense"}}, PromptError),
        ({"schema": "age int", "format": {"type": "object"}}, ConfigError),
        ({"format": "yaml"}, ConfigError),
        ({"options": {"temprature": 0}}, ConfigError),
        ({"think": "very hard"}, ConfigError),
        ({"keep_alive": "soon"}, ConfigError),
        ({"keep_alive": True}, ConfigError),
        ({"model": 5}, ConfigError),
        ({"system": 3}, ConfigError),
        ({"options": 5}, ConfigError),
        ({"concurrency": 0}, ConfigError),
        ({"patience": -1}, ConfigError),
        ({"patience": "long"}, ConfigError),
        ({"patience": True}, ConfigError),
        ({"patience": float("nan")}, ConfigError),
        ({"hosts": []}, ConfigError),
        ({"hosts": ["http://a:b"]}, ConfigError),
        ({"executor": print}, ConfigError),
    ],
    ids=str,
)
def test_invalid_arguments_are_errors_before_anything_is_sent(
    fake_ollama, arguments, kind
):
    with pytest.raises(kind):
        map_prompts(**{"template": "{}", "data": ["a"]} | arguments)
    assert fake_ollama.requests == []


def test_a_missing_model_is_one_error_with_the_nearest_name(fake_ollama):
    with pytest.raises(ModelNotFoundError, match=r"did you mean 'llama3\.2:3b'"):
        map_prompts("{}", ["a", "b"], model="llama3.2:3bb")
    assert asked(fake_ollama) == []


@pytest.mark.parametrize(
    ("model", "think", "words"),
    [
        ("embed:1b", None, "does not support chat"),
        ("plain:1b", True, "does not support thinking"),
    ],
)
def test_a_missing_capability_is_an_error_before_anything_is_sent(
    fake_ollama, model, think, words
):
    embedding = {"name": "embed:1b", "capabilities": ["embedding"]}
    fake_ollama.models([embedding, "plain:1b"])
    with pytest.raises(CapabilityError, match=words):
        map_prompts("{}", ["a"], model=model, think=think)
    assert asked(fake_ollama) == []


def test_capabilities_of_an_older_server_come_from_show(fake_ollama):
    """Before 0.6 only the details of a model had capabilities, not the list."""
    entry = {"name": "embed:1b", "model": "embed:1b", "digest": "d"}
    listed = {"models": [entry]}
    fake_ollama.models([{"name": "embed:1b", "capabilities": ["embedding"]}])
    fake_ollama.on("GET /api/tags", json_answer(listed))
    with pytest.raises(CapabilityError, match="does not support chat"):
        map_prompts("{}", ["a"], model="embed:1b")


def test_an_unreachable_server_is_an_error(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:1")
    with pytest.raises(ServerUnreachableError):
        map_prompts("{}", ["a"])


def test_a_server_without_models_says_what_to_pull(fake_ollama):
    fake_ollama.models([])
    with pytest.raises(ConfigError, match="ollama pull"):
        map_prompts("{}", ["a"])


def test_a_bug_is_not_the_error_of_a_row(fake_ollama, monkeypatch):
    """Only our own errors are values; a bug keeps its traceback."""
    monkeypatch.setattr(
        "ollama_magic.generation.response.Response.read", lambda *_: 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        map_prompts("{}", ["a"])


# -- doubtful replies ----------------------------------------------------------------

LONG = "The quick brown fox jumps over the lazy dog. " * 500


def warned(*args, **options):
    """Return the replies and the warnings about them."""
    with pytest.warns(UserWarning, match="rows") as notes:
        found = map_prompts(*args, **options)
    return found, [str(note.message) for note in notes]


@pytest.mark.parametrize(
    ("row", "end", "options", "words"),
    [
        ("b", {"done_reason": "length"}, {}, "cut off at a length limit of the"),
        (LONG, {"prompt_eval_count": 2050}, {}, 'options={"num_ctx": 8192} makes room'),
        (
            LONG,
            {"prompt_eval_count": 515},
            {"num_ctx": 1024},
            "the server read only a part of the prompt",
        ),
    ],
)
def test_a_reply_that_was_cut_off_is_counted_and_requested_again(
    fake_ollama, row, end, options, words
):
    def answer(body):
        return says(body, "half", **(end if body["prompt"] == row else {}))

    fake_ollama.chat(answer)
    for _ in range(2):
        rows = ["a", row, "c", row]
        found, (note,) = warned("{}", rows, options=options, truncate="warn")
        assert found == ["half"] * 4
        assert note.startswith("2 of 4 rows (positions 1, 3): the ")
        assert words in note
    assert sorted(asked(fake_ollama)) == sorted(["a", "c", row, row])


def too_long(tokens, length=4096):
    """Return the refusal of Ollama 0.33, as recorded."""
    words = f"request ({tokens} tokens) exceeds the available context size"
    inner = {"message": f"{words} ({length} tokens), try increasing it"}
    return error(400, json.dumps({"error": inner}))


def test_a_row_that_does_not_fit_is_an_error_and_says_what_would_fit(fake_ollama):
    """The note is about the longest row; the others are answered once."""
    sizes = {"b": 5120, "d": 6000}

    def answer(body):
        assert body["truncate"] is False
        prompt = body["prompt"]
        return too_long(sizes[prompt]) if prompt in sizes else says(body, "ok")

    fake_ollama.chat(answer)
    for _ in range(2):
        found, (note,) = warned("{}", ["a", "b", "c", "d"])
        assert (found[0], found[2]) == ("ok", "ok")
        for row, tokens in ((found[1], 5120), (found[3], 6000)):
            assert isinstance(row, ContextExceededError)
            assert (row.prompt_tokens, row.context_length) == (tokens, 4096)
            assert row.next_step == 'options={"num_ctx": 8192} makes room'
        assert note == (
            "2 of 4 rows failed (positions 1, 3): The prompt is longer than the "
            "context of 'llama3.2:3b' (server (400): request (6000 tokens) exceeds the "
            "available context size (4096 tokens), try increasing it): "
            'options={"num_ctx": 8192} makes room'
        )
    assert sorted(asked(fake_ollama)) == ["a", "b", "b", "c", "d", "d"]


@pytest.mark.parametrize(
    ("version", "counts", "why"),
    [
        ("0.12.3", {"prompt_eval_count": 515}, "The server dropped part of the prompt"),
        ("0.33.0", {"prompt_eval_count": 515}, ""),
        ("0.33.0", {"prompt_eval_count": 4000, "eval_count": 300}, "Prompt and reply"),
    ],
    ids=["ignores truncate", "fewer tokens than estimated", "outgrown"],
)
def test_what_was_lost_unseen_is_an_error_of_its_row(fake_ollama, version, counts, why):
    fake_ollama.on("GET /api/version", json_answer({"version": version}))
    loaded = {"name": "llama3.2:3b", "context_length": 4096}
    fake_ollama.on("GET /api/ps", json_answer({"models": [loaded]}))
    fake_ollama.chat(lambda body: says(body, "half", **counts))
    if not why:
        assert map_prompts("{}", [LONG]) == ["half"]
        return
    ((row,), _) = warned("{}", [LONG])
    assert isinstance(row, ContextExceededError)
    assert row.what == "A part of the prompt was lost."
    assert row.why.startswith(why)
    assert row.next_step == 'options={"num_ctx": 8192} makes room'


def test_a_reply_that_reaches_the_given_num_predict_is_cached_and_counted(fake_ollama):
    fake_ollama.chat(lambda body: says(body, "a b", done_reason="length", eval_count=2))
    for _ in range(2):
        found, (note,) = warned("{}", ["a"], options={"num_predict": 2})
        assert found == ["a b"]
        assert "cut off at num_predict" in note
    assert asked(fake_ollama) == ["a"]


@pytest.mark.parametrize("schema", [None, SENTIMENT])
@pytest.mark.parametrize(
    ("thinking", "what"),
    [
        ("", "The reply is empty."),
        ("Hm.", "The reply is empty: the model wrote only thinking."),
    ],
)
def test_an_empty_reply_is_the_error_of_its_row(fake_ollama, thinking, what, schema):
    fake_ollama.reply("", thinking=thinking)
    for count in (1, 2):
        (found,), (note, again) = warned("{}", ["a"], schema=schema)
        assert isinstance(found, ReplyDataError)
        reason = f"{what.rstrip('.')} (done reason: stop)"
        assert note == f"1 of 1 rows failed (position 0): {reason}"
        assert again == "run the same call again: 1 row is left"
        assert len(fake_ollama.bodies("/api/generate")) == count


def test_rows_without_a_value_are_named(fake_ollama):
    table = pd.DataFrame({"text": ["a", None, " ", "b"]})
    with pytest.warns(UserWarning, match="without a value") as notes:
        map_prompts("Sentiment of: {text}", table)
    assert [str(note.message) for note in notes] == [
        "2 of 4 rows without a value for {text} (positions 1, 2): leave them out, "
        "since the model makes up its reply"
    ]


def test_a_long_list_of_positions_is_shortened(fake_ollama):
    _, (note,) = warned("{}", [""] * 5000)
    assert "(positions 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 4,990 more)" in note


# -- cached replies -----------------------------------------------------------------


def test_a_second_call_sends_only_rows_that_are_not_cached(fake_ollama):
    first = map_prompts("{}", ["a", "b"])
    assert map_prompts("{}", ["b", "c", "a"]) == [first[1], "re: c", first[0]]
    assert sorted(asked(fake_ollama)) == ["a", "b", "c"]


def test_without_resume_every_row_is_sent_and_cached_again(fake_ollama):
    map_prompts("{}", ["a"])
    fake_ollama.reply("new")
    assert map_prompts("{}", ["a"], resume=False) == ["new"]
    assert map_prompts("{}", ["a"]) == ["new"]
    assert asked(fake_ollama) == ["a", "a"]


@pytest.mark.parametrize(
    "change",
    [{"system": "Be terse."}, {"options": {"seed": 1}}, {"format": "json"}],
    ids=str,
)
def test_a_changed_request_is_not_cached(fake_ollama, change):
    map_prompts("{}", ["a"])
    map_prompts("{}", ["a"], **change)
    assert asked(fake_ollama) == ["a", "a"]


def test_an_updated_model_does_not_reuse_cached_replies(fake_ollama):
    map_prompts("{}", ["a"])
    fake_ollama.models([{"name": "llama3.2:3b", "digest": "f" * 64}])
    map_prompts("{}", ["a"])
    assert asked(fake_ollama) == ["a", "a"]


def test_rows_that_failed_are_sent_again(fake_ollama):
    fake_ollama.chat(lambda body: says(body, '{"label": "?"}'))
    (failed,) = map_prompts("{}", ["a"], schema=SENTIMENT)
    assert isinstance(failed, OllamaMagicError)
    fake_ollama.chat(lambda body: says(body, '{"label": "pos"}'))
    assert map_prompts("{}", ["a"], schema=SENTIMENT) == [{"label": "pos"}]


def test_a_cached_reply_names_its_model(fake_ollama):
    map_prompts("{}", ["a"])
    store = ChatStore(default_path(), warn=pytest.fail)
    kept = store.find_cached_reply(request_key(GenerateRequest("llama3.2:3b", "a")))
    store.close()
    assert (kept.model, kept.text, kept.host_kind) == (
        "llama3.2:3b",
        "re: a",
        "loopback",
    )
    assert kept.digest.startswith("9077fe9d")
    assert kept.stats.eval_count == 1
    assert kept.done_reason == "stop"
