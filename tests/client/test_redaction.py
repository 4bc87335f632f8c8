"""Secrets are hidden in every usual encoding, also in pieces; other text is kept."""

import html
import json
import random
from urllib.parse import quote, quote_plus

import pytest

from ollama_magic.client.redaction import Redactor
from ollama_magic.client.streams import read_objects

SECRETS = [
    "sk-SECRETtoken1234",
    "p&ss<w>rd",
    "a\"b\\c/d'e 1",
    "100%pass+word=",
    "pässwörd-😀-1",
    "eyJhbGciOi." + "Ab1_-" * 60,
]


def unicode_escapes(text):
    units = text.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


SPELLINGS = {
    "plain": str,
    "json": lambda s: json.dumps(s)[1:-1],
    "json in json": lambda s: json.dumps(json.dumps(s)[1:-1])[1:-1],
    "go": lambda s: (
        json.dumps(s)[1:-1]
        .replace("&", "\\u0026")
        .replace("<", "\\u003c")
        .replace(">", "\\u003E")
    ),
    "escapes": unicode_escapes,
    "capital escapes": lambda s: unicode_escapes(s).upper().replace("\\U", "\\u"),
    "percent": lambda s: quote(s, safe=""),
    "percent in lower case": lambda s: (
        quote(s, safe="").lower() if s.isascii() and s.islower() else quote(s)
    ),
    "twice percent": lambda s: quote(quote(s, safe=""), safe=""),
    "form": quote_plus,
    "html": html.escape,
    "entities": lambda s: "".join(f"&#{ord(c)};" for c in s),
    "hexadecimal entities": lambda s: "".join(f"&#x{ord(c):X};" for c in s),
    "half": lambda s: s[:3] + quote(s[3:6]) + unicode_escapes(s[6:8]) + s[8:],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("secret", SECRETS, ids=range(len(SECRETS)))
def test_every_encoding_is_hidden(secret, spelling):
    said = f"<{SPELLINGS[spelling](secret)}>"
    redactor = Redactor([secret, "another-one-77"])
    # Where a long secret ends is not known: it may include the next character.
    assert redactor.text(said) in ("<***>", "<***")
    assert redactor.error(said) in ("<***>", "<***")


@pytest.mark.parametrize("secret", SECRETS, ids=range(len(SECRETS)))
def test_decoded_objects_contain_no_secret_at_any_depth(secret):
    deep = json.loads("[" * 400 + "{}" + "]" * 400)
    data = {"a": [secret, {"b": {secret: f"x{secret}y"}}], "n": 1, "deep": deep}
    for spelled in (json.dumps(data), json.dumps(data, ensure_ascii=False)):
        (found,) = read_objects([spelled.encode()], redactor=Redactor([secret]))
        assert found == {
            "a": ["***", {"b": {"***": "x***y"}}],
            "n": 1,
            "deep": deep,
        }


@pytest.mark.parametrize("word", ["ollama", "password", "Sommerzeit", "1234", "abc-12"])
def test_a_secret_that_may_be_a_word_is_hidden_in_errors_alone(word):
    redactor = Redactor([word])
    assert redactor.text(f"the {word} is") == f"the {word} is"
    assert redactor.error(f"the {word} is") == "the *** is"
    assert redactor.fragments() is None


def test_other_text_is_unchanged():
    text = r"sk-SECRETtoken123 \u0026 100% &amp; a+b " + "\\" * 50
    assert Redactor(SECRETS).text(text) is text
    assert Redactor(["", "abc"]).error("abc") == "abc"
    assert not Redactor([])


def test_an_error_truncated_inside_a_secret_shows_no_part_of_it():
    redactor = Redactor(["sk-SECRETtoken1234"])
    assert redactor.error("got sk-SECRETtok") == "got ***"
    assert redactor.error("it takes a risk") == "it takes a risk"


@pytest.mark.parametrize("between", ["\n", " \r\n    ", "\0", " "])
@pytest.mark.parametrize("secret", SECRETS[:4], ids=range(4))
def test_a_secret_in_a_wrapped_page_is_hidden_in_errors(secret, between):
    redactor = Redactor([secret, "password"])
    spread = between.join(secret)
    for said in (f"{secret[:5]}{between}{secret[5:]}", spread):
        assert redactor.error(f"<{said}>") == "<***>"
    assert redactor.error("pass\nword") == "pass\nword"
    assert redactor.error("a\nb " * 100_000) == "a\nb " * 100_000


def test_no_repr_shows_a_secret():
    redactor = Redactor(SECRETS)
    assert repr(redactor) == "Redactor(6 secrets)"


@pytest.mark.parametrize("seed", range(20))
def test_a_split_secret_is_hidden_and_other_text_is_unchanged(seed):
    chance = random.Random(seed)
    words = ["sk-", "s", "sk-SECRET", " ", "\n", "risks", *SECRETS[:4]]
    text = "".join(chance.choice(words) for _ in range(40))
    fragments = Redactor(SECRETS[:4]).fragments()
    pieces = []
    while text:
        size = chance.randint(0, 4)
        piece, text = text[:size], text[size:]
        pieces.append((piece, not text))
    came = "".join(fragments.add(piece, is_last=last) for piece, last in pieces)
    whole = "".join(piece for piece, _ in pieces)
    assert came == Redactor(SECRETS[:4]).text(whole)
