"""The requests of the recordings of a real server get the same responses."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.embedded

WIRE = Path(__file__).parents[1] / "wire"

_SAME_ANSWER = """
blob_head_bad blob_head_missing blob_post_wrong_digest chat_bad_model_name
chat_empty_object chat_images_nonvision chat_name_field chat_option_wrong_type
chat_think_high_unsupported chat_think_true_unsupported chat_tools_unsupported
chat_tools_unsupported_nonstream chat_unknown_model create_bad_digest
create_bad_model_name create_no_from delete_empty_object delete_unknown_model
embed_on_chat_model generate_images_nonvision generate_keep_alive_bad
generate_option_int_for_bool generate_option_stop_string generate_option_wrong_type
generate_raw_with_system generate_suffix_unsupported generate_think_true_unsupported
generate_unknown_model generate_unknown_model_tag origin_null show_bad_model_name
show_empty_object
"""

_SAME_SHAPE = """
chat_bad_role chat_content_null chat_format_json
chat_format_schema chat_invalid_utf8 chat_last_is_assistant chat_length chat_load
chat_multi_turn chat_multi_turn_nonstream chat_no_role chat_nonstream
chat_num_ctx_reload chat_stop chat_stream chat_stream_false_null
chat_think_false_unsupported chat_unload_nonstream create_bad_blob
generate_emoji generate_format_empty_string generate_format_null generate_html
generate_keep_alive_0_with_prompt generate_keep_alive_forever
generate_keep_alive_number generate_keep_alive_string generate_length
generate_length_nonstream generate_load_empty_prompt generate_nonstream
generate_option_float_for_int generate_option_unknown generate_raw generate_system
generate_think_false generate_unload generate_unload_not_loaded version
"""


def recording(name):
    return json.loads((WIRE / f"{name}.json").read_text(encoding="utf-8"))


def replay(engine, recorded):
    request = recorded["request"]
    given = request["headers"]
    headers = {key: given[key] for key in ("Content-Type", "Origin") if key in given}
    body = request.get("body_raw")
    data = body.encode("utf-8", "surrogateescape") if body else None
    return engine.ask(request["method"], request["path"], data, **headers)


def recorded_header(recorded, name):
    headers = {key.lower(): value for key, value in recorded["response"]["headers"]}
    return headers.get(name.lower())


def recorded_lines(recorded):
    return [line["line"] for line in recorded["response"]["lines"] if "line" in line]


IGNORED = {"context", "prompt_eval_cached_count"}
"""Deprecated; and newer than the recordings (0.34)."""


def shape(value):
    """Return keys at all depths, and types of the values."""
    if isinstance(value, dict):
        return {key: shape(v) for key, v in value.items() if key not in IGNORED}
    return "number" if isinstance(value, int | float) else type(value).__name__


@pytest.mark.parametrize("name", _SAME_ANSWER.split())
def test_the_response_is_the_recorded_one(engine, name):
    recorded = recording(name)
    answer = replay(engine, recorded)
    assert answer.status == recorded["response"]["status"]
    assert answer.body.decode().splitlines() == recorded_lines(recorded)


@pytest.mark.parametrize("name", _SAME_SHAPE.split())
def test_the_response_has_the_recorded_shape(engine, name):
    """Status, type, and the keys of the first and the last line; text may differ."""
    recorded = recording(name)
    answer = replay(engine, recorded)
    lines = [json.loads(line) for line in recorded_lines(recorded)]
    assert answer.status == recorded["response"]["status"]
    assert answer.headers["Content-Type"] == recorded_header(recorded, "Content-Type")
    assert shape(answer.lines[0]) == shape(lines[0])
    assert shape(answer.lines[-1]) == shape(lines[-1])
    reason = lines[-1].get("done_reason")
    if reason in {"load", "unload"} or "length" in name:
        assert answer.lines[-1]["done_reason"] == reason
    assert answer.body.endswith(b"\n") == ("x-ndjson" in answer.headers["Content-Type"])


def test_tags_have_the_recorded_fields(engine):
    (recorded,) = recording("tags_after_pull")["response"]["lines"]
    wanted = shape(json.loads(recorded["line"])["models"][0])
    assert shape(engine.ask("GET", "/api/tags").json["models"][0]) == wanted


def test_ps_has_the_recorded_fields(engine):
    engine.chat("hi", options={"num_predict": 1})
    (recorded,) = recording("ps_loaded")["response"]["lines"]
    wanted = shape(json.loads(recorded["line"])["models"][0])
    assert shape(engine.ask("GET", "/api/ps").json["models"][0]) == wanted


def test_show_has_the_recorded_fields_and_facts(engine):
    """The template differs: it is the one of the GGUF file, and there is a system."""
    (recorded,) = recording("show_basic")["response"]["lines"]
    wanted = json.loads(recorded["line"])
    shown = engine.post("/api/show", model="SMOLLM2:135M").json
    assert set(wanted) - set(shown) <= {"parameters"}
    assert shown["details"] == wanted["details"]
    assert shown["capabilities"] == wanted["capabilities"]
    assert shown["model_info"] == wanted["model_info"]
    assert wanted["tensors"][0] in shown["tensors"]
    assert shown["system"] == "You are a helpful assistant."
    assert shown["license"] == "Apache-2.0"


def test_show_verbose_has_the_vocabulary(engine):
    shown = engine.post("/api/show", model="smollm2:135m", verbose=True).json
    assert len(shown["model_info"]["tokenizer.ggml.tokens"]) == 49152
