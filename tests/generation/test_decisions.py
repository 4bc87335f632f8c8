"""Decisions: questions, what is sent, answers, and estimates from tokens."""

from math import log

import pytest
from fake_ollama import error, json_answer, reply_line

from ollama_magic import Choice, OllamaClient, Score, YesNo, decide, map_decisions
from ollama_magic.client.logprobs import Logprobs, TokenLogprob
from ollama_magic.errors import (
    ConfigError,
    OllamaMagicError,
    PromptError,
    ReplyDataError,
)
from ollama_magic.generation.questions import read_answers, read_choices, read_questions

LABELS = {"billing": "Payments and refunds", "bug": "Software errors", "account": None}
TOLD = {"billing": 0.0125, "bug": 0.9781, "account": 0.0093}
LABEL = {"type": "choice", "choice": "bug", "probabilities": TOLD, "confidence": 0.8906}
DECIDER = {"name": "nimble:latest", "capabilities": ["decision"]}
CHATS = {"name": "llama3.2:3b", "capabilities": ["completion"]}


@pytest.fixture(autouse=True)
def script(fake_ollama, monkeypatch):
    """Give a server with a model that decides, and one that chats."""
    monkeypatch.setenv("OLLAMA_HOST", fake_ollama.url)
    fake_ollama.models([CHATS, DECIDER])
    answers(fake_ollama, choice=LABEL)
    return fake_ollama


def answers(fake_ollama, **given):
    usage = {"input_tokens": 174, "output_tokens": 1}
    answer = {"model": "nimble", "answers": given, "usage": usage}
    fake_ollama.on("POST /v1/systemone", json_answer(answer))


def token(text, probability=1.0, *others):
    data = text.encode()
    others = others or ((text, probability),)
    top = tuple(TokenLogprob(t, log(p), tuple(t.encode())) for t, p in others)
    return TokenLogprob(text, log(probability), tuple(data), top)


def writes(fake_ollama, *tokens):
    """Reply with tokens, each with its alternatives."""

    def as_json(one):
        top = [as_json(other) for other in one.top_logprobs]
        told = {"token": one.token, "logprob": one.logprob, "bytes": [*one.bytes]}
        return told | ({"top_logprobs": top} if top else {})

    def lines(body):
        for one in tokens:
            yield reply_line(body, content=one.token) | {"logprobs": [as_json(one)]}
        yield reply_line(body, done=True, done_reason="stop")

    fake_ollama.chat(lines)


CHOSEN = (
    token('{"choice":'),
    token(' "', 0.9, (' "', 0.9), (" bug", 0.1)),
    token("b", 0.7, ("b", 0.7), ("account", 0.2), ("zzz", 0.1)),
    token("ug", 0.75, ("ug", 0.75), ("illing", 0.25)),
    token('"}'),
)


# -- with a model that decides -----------------------------------------------------


def test_a_model_that_decides_is_used_and_its_numbers_are_shown(script):
    decision = decide("It crashes.", LABELS)
    assert script.bodies("/v1/systemone") == [
        {
            "model": "nimble:latest",
            "state": "It crashes.",
            "questions": {
                "choice": {
                    "type": "choice",
                    "instructions": "Which of these fits best?",
                    "criteria": LABELS,
                }
            },
        }
    ]
    assert (decision.choice, decision.confidence) == ("bug", 0.8906)
    assert decision.probabilities == TOLD
    assert not decision.is_estimate
    assert repr(decision).splitlines()[:5] == [
        "choice: bug",
        "Answer   Probability                  Meaning",
        "billing  1.2 %                        Payments and refunds",
        "bug      97.8 % ████████████████████  Software errors",
        "account  0.9 %",
    ]
    assert script.bodies("/api/chat") == script.bodies("/api/generate") == []
    pytest.importorskip("pandas")
    frame = decision.to_frame()
    assert [*frame[frame.chosen].answer] == ["bug"]


def test_several_questions_of_all_kinds_about_an_object_with_an_image(script):
    png = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
    questions = {
        "label": list(LABELS),
        "refund": YesNo("A refund?", yes="asks for it"),
        "urgency": Score(["Routine", "Soon", "Immediate"]),
        "raw": {"type": "score", "instructions": "How?", "criteria": ["no", "yes"]},
    }
    levels = {"0": 0.3, "1": 0.6, "2": 0.1}
    score = {"type": "score", "score": 0.8, "probabilities": levels, "confidence": 0.7}
    odd = {"type": "score", "score": 1, "probabilities": {"x": 1.0}}
    noul = {"type": "noul", "noul": 0.9989}
    answers(script, label=LABEL, refund=noul, urgency=score, raw=odd)
    state = {"subject": "500", "hours": 3}
    made = decide(state, questions, model="nimble", images=png, keep_alive="5m")
    (body,) = script.bodies("/v1/systemone")
    assert (body["state"], body["keep_alive"]) == (state, "5m")
    assert body["images"] == ["iVBORw0KGgoAAAAAAAAAAAAAAAAAAAAAAAAAAA=="]
    asked = body["questions"]
    assert asked["refund"]["criteria"] == {"false": "", "true": "asks for it"}
    assert asked["urgency"]["criteria"] == ["Routine", "Soon", "Immediate"]
    assert made["refund"].value is True
    assert made["refund"].probability == 0.9989
    assert made["refund"].confidence == pytest.approx(0.9875, abs=0.001)
    assert made["urgency"].value == 0.8
    assert [*made["urgency"].probabilities.values()] == [0.3, 0.6, 0.1]
    assert made["urgency"].probability == 0.6
    assert made["raw"].probabilities == {}
    assert "urgency: 0.80 of 2: Soon" in repr(made)
    with pytest.raises(ReplyDataError, match="4 answers"):
        _ = made.choice
    sent = {"label": Choice(LABELS)}
    alone = OllamaClient(script.url).decide("nimble", "x", sent)
    assert alone.answers["label"].value == "bug"
    assert alone.input_tokens == 174


def test_questions_that_cannot_be_answered_are_found_before_sending(script):
    many = [f"label {n}" for n in range(27)]
    for wrong in ({}, [], ["one"], many, "", 3, {"a": 1}, {"a": ["x"]}, ["x", ""]):
        with pytest.raises(PromptError):
            decide("text", wrong)
    assert len(Choice(many[:26]).names) == 26
    with pytest.raises(PromptError):
        Score(["same", "same"])
    with pytest.raises(PromptError):
        decide({"when": object()}, LABELS)
    assert script.bodies("/v1/systemone") == []


def test_labels_are_written_in_short_or_named():
    spec = "bug: errors: all; billing;"
    expected = {"bug": "errors: all", "billing": None}
    assert read_choices(spec, {})["choice"].labels == expected
    assert read_choices("a, b", {})["choice"].names == ("a", "b")
    named = {"mine": {"x": None, "y": "why"}, "tests": ["no"]}
    assert read_choices("mine", named)["choice"].labels == named["mine"]


def test_options_without_effect_and_servers_without_the_endpoint_are_errors(script):
    with pytest.raises(ConfigError, match="system and options would have no effect"):
        decide("x", LABELS, system="Be brief.", options={"seed": 1})
    script.on("POST /v1/systemone", error(404, "404 page not found"))
    with pytest.raises(OllamaMagicError) as caught:
        decide("x", LABELS)
    assert "/v1/systemone (Ollama 0.35 and later have it)" in caught.value.next_step
    answers(script, choice={"choice": "nothing"})
    with pytest.raises(ReplyDataError, match="not a decision"):
        decide("x", LABELS)


# -- with a model that chats ---------------------------------------------------------


def test_a_model_that_chats_is_asked_for_json_and_its_tokens_are_weighed(script):
    writes(script, *CHOSEN)
    decision = decide("It crashes.", LABELS, model="llama3.2:3b")
    (body,) = script.bodies("/api/generate")
    assert body["format"]["properties"]["choice"]["enum"] == [*LABELS]
    assert '- "bug": Software errors' in body["system"]
    assert (body["prompt"], body["truncate"]) == ("It crashes.", False)
    assert (body["logprobs"], body["top_logprobs"]) == (True, 20)
    shares = {"billing": 0.175 / 0.9, "bug": 0.525 / 0.9, "account": 0.2 / 0.9}
    assert decision.probabilities == pytest.approx(shares)
    assert decision.is_estimate
    assert "estimated from log probabilities of llama3.2:3b" in decision.footer


def test_without_log_probabilities_there_is_an_answer_alone(script):
    script.reply('{"choice": "bug"}')
    decision = decide("It crashes.", LABELS, model="llama3.2:3b")
    assert (decision.choice, decision.confidence) == ("bug", None)
    assert decision.probabilities == {}
    assert "llama3.2:3b does not tell how likely its answers are" in decision.footer
    assert "no log probabilities from this server" in decision.footer
    script.models([CHATS])
    assert decide("It crashes.", LABELS).model == "llama3.2:3b"


def test_an_estimate_tells_what_it_does_not_know():
    questions = read_questions({"a": ["x", "y", "é"], "b": Score(["low", "high"])})
    tokens = Logprobs(
        [
            token('{"a":"'),
            token("x", 0.8, ("x", 0.8), ('y"', 0.2)),
            token('","b":"'),
            token("1", 0.75, ("1", 0.75), ("0", 0.25)),
            token('"}'),
        ]
    )
    made = read_answers({"a": "x", "b": "1"}, tokens, questions).answers
    assert made["a"].probabilities == pytest.approx({"x": 0.8, "y": 0.2, "é": 0.0})
    assert made["a"].unseen == ("é",)
    assert made["b"].value == pytest.approx(0.75)
    plain = Logprobs(TokenLogprob(one.token, one.logprob) for one in tokens)
    told = read_answers({"a": "x", "b": "1"}, plain, questions).answers["b"]
    assert (told.value, told.probabilities) == (1.0, {})


# -- rows ------------------------------------------------------------------------


def test_rows_get_columns_and_a_second_call_reads_the_cache(script):
    pandas = pytest.importorskip("pandas")
    rows = pandas.DataFrame({"who": ["A", "B", "A"], "text": "x"}, index=[4, 5, 6])
    for _ in range(2):
        made = map_decisions(rows, LABELS)
        assert [*made.columns] == ["choice", "probability", "confidence", "error"]
        assert [*made.probability] == [0.9781] * 3
    sent = script.bodies("/v1/systemone")
    states = sorted(body["state"] for body in sent)
    assert states == ["who: A\ntext: x", "who: B\ntext: x"]

    def answer(request):
        if "B" in request.json["state"]:
            return error(500, "out of memory")
        return json_answer({"answers": {"choice": LABEL}})

    script.on("POST /v1/systemone", answer)
    with pytest.warns(UserWarning, match="1 of 3 rows failed"):
        made = map_decisions(rows, LABELS, template="{who}", resume=False, patience=0)
    assert [one is None for one in made.error] == [True, False, True]


def test_rows_with_a_model_that_chats_are_estimates(script):
    writes(script, *CHOSEN)
    with pytest.warns(UserWarning, match="estimated from log probabilities"):
        made = map_decisions(["x"], LABELS, model="llama3.2:3b")
    assert made[0]["choice"] == "bug"
    assert made[0]["probability"] == pytest.approx(0.525 / 0.9)
    with pytest.raises(ConfigError, match="options would have no effect"):
        map_decisions(["x"], LABELS, options={"seed": 1})
