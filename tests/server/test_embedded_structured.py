"""A real schema: the engine makes the model follow it."""

import pytest
from corpus.kinds import KINDS

from ollama_magic.client.client import OllamaClient
from ollama_magic.generation.schema import read_schema, what_is_wrong

pytestmark = pytest.mark.embedded


def test_a_small_model_follows_the_schema(engine):
    client = OllamaClient(engine.base_url, api_key=engine.token)
    schema = read_schema("capital, continent: one of Europe, Asia; big bool")
    messages = [{"role": "user", "content": "Tell me about France."}]
    options = {"temperature": 0, "seed": 1, "num_predict": 80}
    reply = client.chat("smollm2:135m", messages, format=schema.json, options=options)
    text = reply.complete().content
    assert what_is_wrong(text, schema) == ""


NAMES = """a list/a dict/a choice/an enum/a whole number/a date/a decimal/a pattern/\
told apart by a field/a generic model/a recursive dataclass/optional"""


@pytest.mark.parametrize("name", NAMES.split("/"))
def test_a_grammar_is_made_from_the_schemas_of_types(engine, name):
    kind, *_ = KINDS[name]
    client = OllamaClient(engine.base_url, api_key=engine.token)
    schema = read_schema(kind)
    messages = [{"role": "user", "content": "Give a short example."}]
    options = {"temperature": 0, "seed": 1, "num_predict": 30}
    reply = client.chat("smollm2:135m", messages, format=schema.json, options=options)
    answer = reply.complete()
    if answer.done_reason != "length":  # a small model may fill a list endlessly
        assert what_is_wrong(answer.content, schema) == ""
    assert answer.content
