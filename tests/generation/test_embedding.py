"""Which texts `embed` takes, and how it sends many of them."""

import pytest
from fake_ollama import error, json_answer

from ollama_magic import embed
from ollama_magic.errors import PromptError, ServerError

numpy = pytest.importorskip("numpy")
pandas = pytest.importorskip("pandas")

MODEL = "llama3.2:3b"


@pytest.fixture(autouse=True)
def host(fake_ollama, monkeypatch):
    """Give the environment of a script: no extension is loaded."""
    monkeypatch.setenv("OLLAMA_HOST", fake_ollama.url)


NO_TEXTS = {
    "empty": ("", "it is empty"),
    "empty in a list": (["a", ""], "it is empty"),
    "None": (["a", None], "it is None"),
    "NaN in a Series": (pandas.Series(["a", float("nan")]), "it is nan"),
    "numbers": ([1, 2], "it is 1"),
    "nothing": (None, "embed takes a text"),
    "a number": (3, "embed takes a text"),
    "bytes": (b"text", "embed takes a text"),
    "a dict": ({"a": "text"}, "embed takes a text"),
    "a set": ({"text"}, "embed takes a text"),
    "a table in an array": (numpy.array([["a", "b"]]), "embed takes a text"),
    "an array without a dimension": (numpy.array("a"), "embed takes a text"),
    "a DataFrame": (pandas.DataFrame({"text": ["a"]}), "embed takes a text"),
}


@pytest.mark.parametrize("case", NO_TEXTS)
def test_a_value_that_is_not_text_is_not_embedded(fake_ollama, case):
    """A DataFrame would give its column names, and NaN is not JSON."""
    input, why = NO_TEXTS[case]
    with pytest.raises(PromptError) as info:
        embed(input, model=MODEL)
    assert why in info.value.why
    assert "embed(" in info.value.next_step
    assert fake_ollama.requests == []


@pytest.mark.parametrize(
    "vectors",
    [
        [],
        [[1.0]],
        [[1.0], [2.0], [3.0]],
        [[], []],
        [[1.0], [1.0, 2.0]],
        [[None], [1.0]],
        [[float("nan")], [1.0]],
    ],
    ids=str,
)
def test_a_text_without_a_complete_vector_is_an_error(fake_ollama, vectors):
    """Ollama returned no vector for an empty text (ollama#5713)."""
    fake_ollama.on("POST /api/embed", json_answer({"embeddings": vectors}))
    with pytest.raises(ServerError, match="for 2 texts"):
        embed(["a", "b"], model=MODEL)


def embeds(request):
    """Answer with the number in each text; a text "bad" fails the whole request."""
    texts = request.json["input"]
    if "bad" in texts:
        return error(500, "failed to encode response: json: unsupported value: NaN")
    return json_answer({"embeddings": [[float(text)] for text in texts]})


@pytest.mark.parametrize("kind", [list, pandas.Series, iter, tuple])
def test_many_texts_are_sent_in_several_requests_and_stay_in_order(fake_ollama, kind):
    fake_ollama.on("POST /api/embed", embeds)
    texts = [str(number) for number in range(600)] + ["0" * 150_000, "0" * 150_000]
    vectors = embed(kind(texts), model=MODEL)
    assert vectors == [(float(text),) for text in texts]
    sent = [body["input"] for body in fake_ollama.bodies("/api/embed")]
    assert [len(one) for one in sent] == [256, 256, 89, 1]
    assert embed([], model=MODEL) == []


def test_the_text_that_fails_the_others_is_named(fake_ollama):
    fake_ollama.on("POST /api/embed", embeds)
    texts = ["1"] * 100
    texts[71] = "bad"
    with pytest.raises(ServerError) as info:
        embed(texts, model=MODEL)
    assert info.value.what == "texts[71] was not embedded: bad"
    assert "unsupported value: NaN" in info.value.why
    assert "change the text, or choose another model" in info.value.next_step
    assert len(fake_ollama.requests) < 15


def test_a_refusal_that_is_not_about_a_text_is_not_repeated(fake_ollama):
    fake_ollama.on("POST /api/embed", error(401, "unauthorized"))
    with pytest.raises(ServerError):
        embed(["a", "b"], model=MODEL)
    assert len(fake_ollama.requests) == 1
