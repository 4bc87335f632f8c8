"""Real rows: the engine makes each reply follow the schema."""

import pandas as pd
import pytest

from ollama_magic import map_prompts

pytestmark = pytest.mark.embedded


def test_five_rows_become_labels(engine, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", engine.base_url)
    monkeypatch.setenv("OLLAMA_API_KEY", engine.token)
    table = pd.DataFrame(
        {"text": ["I love it.", "I hate it.", "So good!", "So bad!", "Wonderful."]},
        index=list("abcde"),
    )
    found = map_prompts(
        "Is this positive or negative: {text}",
        table,
        schema="label: one of pos, neg",
        model="smollm2:135m",
        options={"temperature": 0, "seed": 1, "num_predict": 40},
    )
    assert found.index.tolist() == list("abcde")
    assert found.error.tolist() == [None] * 5
    assert set(found.label) <= {"pos", "neg"}
