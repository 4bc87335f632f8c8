"""Real rows: the engine makes each reply follow the schema."""

import pandas as pd
import pytest

from ollama_magic import Score, YesNo, map_decisions, map_prompts

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


def test_decisions_about_rows_are_estimated_from_the_tokens(engine, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", engine.base_url)
    monkeypatch.setenv("OLLAMA_API_KEY", engine.token)
    questions = {
        "label": {"bug": "Software errors", "billing": "Payments"},
        "refund": YesNo("Is a refund requested?"),
        "urgency": Score(["routine", "soon", "at once"], "How urgent is it?"),
    }
    table = pd.DataFrame({"text": ["It crashes.", "I was charged twice."]})
    with pytest.warns(UserWarning, match="estimated from log probabilities"):
        found = map_decisions(table, questions, model="smollm2:135m")
    assert found.error.tolist() == [None] * 2
    assert set(found.label) <= {"bug", "billing"}
    assert found.urgency.between(0, 2).all()
    for name in questions:
        assert found[f"{name}_probability"].between(0, 1).all()
        assert found[f"{name}_confidence"].between(0, 1).all()
    sure = map_prompts("Sum up: {text}", table, model="smollm2:135m", logprobs=True)
    assert sure.confidence.between(0.01, 1).all()
