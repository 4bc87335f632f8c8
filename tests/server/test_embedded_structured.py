"""A real schema: the engine makes the model follow it."""

import pytest

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
