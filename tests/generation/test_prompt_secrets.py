"""``{{ }}`` gives no access to secrets, and filled-in text contains none."""

import json
import os
import sys
from collections import ChainMap, UserDict, namedtuple
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import pydantic
import pytest
from traitlets.config import Configurable

from ollama_magic.client.client import OllamaClient
from ollama_magic.client.host import parse_host
from ollama_magic.client.redaction import Redactor
from ollama_magic.errors import PromptError
from ollama_magic.generation.front_end import NoCells
from ollama_magic.generation.prompt import compose, fill, find_value
from ollama_magic.generation.session import Session
from ollama_magic.generation.settings import Settings
from ollama_magic.server.launch import RunningServer

numpy = pytest.importorskip("numpy")
pandas = pytest.importorskip("pandas")

KEY = "sk-SECRETtoken1234"
HIDE = Redactor([KEY]).text


@dataclass
class Config:
    env: object = None
    key: str = KEY
    size: int = 3


class Shell(Configurable):
    """As the shell of IPython, its managers and its magics are."""

    @property
    def user_ns(self):
        return NAMESPACE


class Odd(Mapping):
    """A mapping of the user whose ``in`` fails."""

    def __getitem__(self, key):
        return 7

    def __iter__(self):
        return iter("a")

    def __len__(self):
        return 1

    def __contains__(self, key):
        raise ZeroDivisionError


def running():
    yield 1


def holders():
    client = OllamaClient(f"http://ann:{KEY}@127.0.0.1:1", api_key=KEY)
    return {
        "client": client,
        "server": RunningServer("http://127.0.0.1:1", KEY, "embedded", "1"),
        "address": parse_host(f"http://ann:{KEY}@127.0.0.1:1"),
        "state": Session(SimpleNamespace(), Settings, NoCells()),
        "header": client._credentials,
    }


NAMESPACE = {
    "os": os,
    "sys": sys,
    "np": numpy,
    "env": os.environ,
    "names": {"os": os, "e": [os.environ]},
    "cfg": Config(os.environ),
    "spaces": SimpleNamespace(inner=[{"env": os.environ}]),
    "table": pandas.DataFrame({"a": [os.environ, 1]}),
    "series": pandas.Series([Config(os.environ)]),
    "gen": running(),
    "copy": os.environ.copy(),
    "pairs": [*os.environ.items()],
    "child": {"args": ["ls"], "env": {**os.environ, "LANG": "C"}},
    "wrapped": UserDict(os.environ),
    "chain": ChainMap({}, os.environ),
    "odd": Odd(),
    "shell": Shell(),
    **holders(),
}
NAMESPACE["here"] = {"all": NAMESPACE}
MODULE, ENVIRONMENT = "a module", "the environment of this process"
SESSION = "all variables and settings of this session"


@pytest.mark.parametrize(
    ("expression", "what"),
    [
        ("os", MODULE),
        ("os.environ", MODULE),
        ("os.path.sep", MODULE),
        ("sys.modules", MODULE),
        ("sys.modules['os'].environ['HOME']", MODULE),
        ("np.pi", MODULE),
        ("names['os'].environ", MODULE),
        ("env", ENVIRONMENT),
        ("env['HOME']", ENVIRONMENT),
        ("names['e'][0]", ENVIRONMENT),
        ("names", ENVIRONMENT),
        ("cfg", ENVIRONMENT),
        ("cfg.env", ENVIRONMENT),
        ("spaces", ENVIRONMENT),
        ("spaces.inner[0]['env']['HOME']", ENVIRONMENT),
        ("table", ENVIRONMENT),
        ("series", ENVIRONMENT),
        ("copy", ENVIRONMENT),
        ("copy['HOME']", ENVIRONMENT),
        ("pairs", ENVIRONMENT),
        ("child", ENVIRONMENT),
        ("child['env']['HOME']", ENVIRONMENT),
        ("wrapped.data", ENVIRONMENT),
        ("chain", ENVIRONMENT),
        ("chain['HOME']", ENVIRONMENT),
        ("shell", SESSION),
        ("shell.user_ns", SESSION),
        ("shell.user_ns['copy']", SESSION),
        ("here['all']", SESSION),
        ("gen.gi_frame.f_globals", "a frame of running code"),
        ("client", "a value of type OllamaClient (it may hold a secret)"),
        ("client.host.password", "a value of type OllamaClient (it may hold a secret)"),
        ("server.api_key", "a value of type RunningServer (it may hold a secret)"),
        ("address.password", "a value of type Host (it may hold a secret)"),
        ("state.settings", "a value of type Session (it may hold a secret)"),
        ("header.redactor", "a value of type Credentials (it may hold a secret)"),
    ],
)
def test_access_to_secrets_is_an_error(monkeypatch, expression, what):
    monkeypatch.setenv("OLLAMA_API_KEY", KEY)
    with pytest.raises(PromptError) as caught:
        fill(f"Sum up: {{{{ {expression} }}}}", NAMESPACE)
    assert caught.value.lines() == [
        f"{{{{ {expression} }}}} can't be used in a prompt.",
        f"  why:  it gives access to {what}; pasted text could leak secrets this way",
        "  next: compute what you need in a cell above and use its name; --raw sends "
        "braces unchanged",
    ]


Point = namedtuple("Point", "x y")


class Model(pydantic.BaseModel):
    name: str
    tags: list[str] = []


FRAME = pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]})


@pytest.mark.parametrize(
    ("value", "expression", "text"),
    [
        (FRAME, "v.a[0]", "1"),
        (FRAME, "v['b'][1]", "y"),
        (FRAME, "v.shape", "[2, 2]"),
        (FRAME, "v.T.shape", "[2, 2]"),
        (FRAME, "v.iloc[0]['b']", "x"),
        (numpy.arange(6).reshape(2, 3), "v.shape", "[2, 3]"),
        (numpy.arange(3), "v.T[2]", "2"),
        (Point(1, 2), "v.y", "2"),
        (Config(key="k"), "v.size", "3"),
        (Model(name="n", tags=["t"]), "v.tags[0]", "t"),
        ("it says environ({})", "v", "it says environ({})"),
        ({"a": "environ({'x': 1})"}, "v['a']", "environ({'x': 1})"),
        (Config, "v.size", "3"),
    ],
)
def test_data_of_the_user_is_filled_in(value, expression, text):
    assert fill(f"{{{{ {expression} }}}}", {"v": value})[0] == text


@pytest.mark.parametrize(
    "value",
    [
        f"my key is {KEY}.",
        [KEY, {"k": KEY}],
        {KEY: 1},
        Config(),
        SimpleNamespace(deep=[Config()]),
        pandas.DataFrame({"a": ["x" * 190 + KEY + "y" * 90, KEY]}),
        pandas.Series([KEY], name=KEY),
        numpy.array([KEY]),
        f"import os\nos.environ['OLLAMA_API_KEY'] = {KEY!r}",
        json.dumps(KEY).replace("-", "\\u002d"),
        KEY.replace("-", "%2D"),
        "x" * 49_990 + KEY,
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_known_secret_is_hidden_in_what_is_filled_in(value):
    text = fill("{{ v }}", {"v": value}, HIDE)[0]
    assert "***" in text
    for start in range(len(KEY) - 6):
        assert KEY[start : start + 6] not in text


def test_secrets_in_files_and_typed_text_are_hidden(tmp_path):
    path = tmp_path / "a.env"
    path.write_text(f"OLLAMA_API_KEY={KEY}\n")
    text, *_ = compose(f"Why is {KEY} bad?", {}, files=[str(path)], raw=True, hide=HIDE)
    assert KEY not in text
    assert "OLLAMA_API_KEY=***" in text
    assert "Why is *** bad?" in text


def test_small_mappings_and_odd_ones_are_filled_in():
    few = dict(list(os.environ.items())[:3])
    assert fill("{{ few }}", {"few": few})[0] == json.dumps(few)
    assert fill("{{ odd['x'] }}", NAMESPACE)[0] == "7"


def test_a_secret_in_an_error_of_the_user_is_hidden():
    class Failing:
        @property
        def x(self):
            raise ValueError(f"401 for {KEY}")

    with pytest.raises(PromptError) as caught:
        fill("{{ v.x }}", {"v": Failing()}, HIDE)
    assert caught.value.why == "ValueError: 401 for ***"


def test_a_name_on_the_line_may_be_in_a_module():
    """The user types ``-T math.gcd``; it is not in pasted text."""
    assert find_value("os.getcwd", NAMESPACE) is os.getcwd
