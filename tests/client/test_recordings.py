"""Every recording of a real server, replayed byte for byte to the client.

``REFUSED`` lists the recordings that end in an error, with its class; all others must
give the typed value that their lines contain.
"""

import json

import pytest
from fake_ollama import WIRE, Answer, answer_of, recording

from ollama_magic import errors
from ollama_magic.client.progress import TransferProgress
from ollama_magic.client.types import ReplyChunk

_SERVER, _MISSING, _CANNOT, _TRANSFER = (
    errors.ServerError,
    errors.ModelNotFoundError,
    errors.CapabilityError,
    errors.ModelTransferError,
)
REFUSED = {
    case: kind
    for kind, cases in {
        _MISSING: """
            chat_unknown_model copy_missing_source delete_again delete_unknown_model
            embed_unknown_model generate_unknown_model generate_unknown_model_tag
            show_unknown_model""",
        _CANNOT: """
            chat_images_nonvision chat_on_embed_model chat_think_high_unsupported
            chat_think_true_unsupported chat_tools_unsupported
            chat_tools_unsupported_nonstream embed_batch_ok embed_on_chat_model
            generate_images_nonvision generate_on_embed_model
            generate_suffix_unsupported generate_think_true_unsupported""",
        errors.ContextExceededError: """
            chat_long_prompt_no_truncate embed_batch_with_empty
            embed_truncate_false_long generate_long_prompt_no_shift
            generate_long_prompt_no_truncate""",
        errors.StreamInterruptedError: "chat_client_disconnect",
        _TRANSFER: """
            create_adapters_missing create_bad_blob create_bad_digest
            create_bad_model_name create_bad_quantize create_bad_template
            create_empty_body create_files_two create_from_missing
            create_malformed_json create_no_from pull_empty_body pull_malformed_json
            pull_cancelled_by_client pull_empty_object pull_missing_model
            pull_missing_model_nostream pull_name_field pull_no_internet
            pull_no_internet_nostream pull_plain_http_without_insecure
            pull_registry_dies pull_registry_no_redirect pull_unreachable
            pull_unreachable_http_scheme pull_unreachable_http_scheme_insecure
            push_empty_object push_insecure_missing push_malformed_json
            push_missing_model
            push_name_field push_no_insecure push_no_namespace""",
        _SERVER: """
            blob_head_bad blob_post_wrong_digest chat_bad_model_name
            chat_content_list chat_empty_body chat_empty_object
            chat_expect_gzip_body chat_format_bad_schema chat_format_bad_string
            chat_images_bad_base64 chat_malformed_json
            chat_messages_string chat_name_field chat_option_wrong_type
            chat_runner_killed_midstream chat_runner_killed_nonstream
            chat_tools_arguments_as_string chat_two_json_values cloud_model
            copy_empty_body copy_empty_object copy_malformed_json
            delete_bad_model_name delete_empty_body delete_empty_object
            embed_bad_input embed_empty_object
            generate_empty_object
            generate_format_bad_schema generate_images_bad_base64
            generate_keep_alive_bad generate_load_bad_parameter
            generate_option_int_for_bool generate_option_stop_string
            generate_option_wrong_type generate_options_not_object
            generate_raw_with_system generate_stream_string origin_null
            me show_bad_model_name show_empty_object show_malformed_json""",
    }.items()
    for case in cases.split()
}
SOCKET = "raw_socket_chat_stream"
AT_ONCE = ["pull_twice_at_once", "delete_during_generation"]
WRONG_METHOD = {
    "wrong_method_get_show": "POST /api/show",
    "wrong_method_post_delete": "DELETE /api/delete",
    "wrong_method_post_tags": "GET /api/tags",
}
CASES = sorted(
    {path.stem for path in WIRE.glob("*.json")} - {SOCKET, *AT_ONCE, *WRONG_METHOD}
)


def ask(client, case, tmp_path):
    """Make the call whose response was recorded."""
    request = recording(case)["request"]
    body = request.get("body")
    body = body if isinstance(body, dict) else {}
    model = body.get("model") or body.get("name") or ""
    endpoint, _, digest = request["path"].removeprefix("/api/").partition("/")
    if endpoint == "blobs":
        if request["method"] == "HEAD":
            return client.blob_exists(digest)
        file = tmp_path / "blob"
        file.write_bytes(b"hello")
        return client.upload_blob(digest, file.open("rb"))
    return {
        "chat": lambda: client.chat(model, body.get("messages", [])).complete(),
        "generate": lambda: client.generate(model, "x").complete(),
        "embed": lambda: client.embed(model, "x"),
        "tags": client.list,
        "ps": client.ps,
        "version": client.version,
        "show": lambda: client.show(model),
        "me": client.me,
        "status": client.status,
        "copy": lambda: client.copy(body.get("source", ""), "y"),
        "delete": lambda: client.delete(model),
        "pull": lambda: list(client.pull(model)),
        "push": lambda: list(client.push(model)),
        "create": lambda: list(client.create(model)),
    }[endpoint]()


def lines(case):
    entries = recording(case)["response"]["lines"]
    return [json.loads(entry["line"]) for entry in entries if "line" in entry]


def test_the_table_names_only_existing_recordings():
    assert set(REFUSED) <= set(CASES)


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_a_recorded_error_becomes_the_right_exception(
    case, client, fake_ollama, tmp_path
):
    fake_ollama.replay(case)
    with pytest.raises(errors.OllamaMagicError) as info:
        ask(client, case, tmp_path)
    error = info.value
    assert type(error) is REFUSED[case]
    assert len(error.lines()) == 3
    assert error.why.count('{"') <= case.count("schema")  # no wrapped JSON is left
    if isinstance(error, _SERVER):
        status = recording(case)["response"]["status"]
        assert error.status_code == status


@pytest.mark.parametrize("case", [case for case in CASES if case not in REFUSED])
def test_a_recorded_response_becomes_its_value(case, client, fake_ollama, tmp_path):
    fake_ollama.replay(case)
    found = ask(client, case, tmp_path)
    path = recording(case)["request"]["path"]
    if path in {"/api/chat", "/api/generate"}:
        _check_reply(found, lines(case))
    elif path in {"/api/pull", "/api/push", "/api/create"}:
        assert [p.status for p in found] == [line["status"] for line in lines(case)]
        assert [p.total_bytes for p in found] == [
            p.get("total", 0) for p in lines(case)
        ]
        assert found[-1].status == "success"
    elif path in {"/api/tags", "/api/ps"}:
        wanted = [(m["name"], m["size"], m["digest"]) for m in lines(case)[0]["models"]]
        assert [(m.name, m.size_bytes, m.digest) for m in found] == wanted
    elif path == "/api/show":
        (data,) = lines(case)
        assert found.modelfile == data["modelfile"]
        assert found.capabilities == tuple(data["capabilities"])
        assert found.context_length > 0
    elif path == "/api/embed":
        assert [list(row) for row in found.vectors] == lines(case)[0]["embeddings"]
    elif path == "/api/version":
        assert found == "0.33.0-rc2-0-gfb30760"
    elif path == "/api/status":
        assert (found.disabled, found.source) == (True, "env")
    elif path.startswith("/api/blobs/") and recording(case)["request"]["method"] == (
        "HEAD"
    ):
        assert found is (recording(case)["response"]["status"] == 200)
    else:
        assert found is None  # copy, delete, upload: an empty body


def _check_reply(found, data):
    sources = [line.get("message", line) for line in data]
    texts = [s.get("content", s.get("response", "")) for s in sources]
    calls = [call for s in sources for call in s.get("tool_calls", [])]
    assert isinstance(found, ReplyChunk)
    assert found.done
    assert found.content == "".join(texts)
    assert found.thinking == "".join(s.get("thinking", "") for s in sources)
    assert [c.arguments for c in found.tool_calls] == [
        c["function"]["arguments"] for c in calls
    ]
    assert found.done_reason == data[-1].get("done_reason", "")
    assert found.stats.eval_count == data[-1].get("eval_count", 0)
    assert found.stats.total_duration_ns == data[-1].get("total_duration", 0)


def test_a_recorded_socket_is_read_line_by_line(client, fake_ollama):
    """The exact bytes of a connection, including headers and chunk sizes."""
    received = recording(SOCKET)["recv"]
    steps = [entry["bytes"].encode() for entry in received]
    fake_ollama.on("POST /api/chat", Answer(steps, raw=True))
    chunks = list(client.chat("smollm2:135m", []))
    assert len(chunks) == len(received) - 1
    assert (
        "".join(chunk.content for chunk in chunks) == "The capital of France is Paris."
    )


@pytest.mark.parametrize("case", WRONG_METHOD)
def test_a_wrong_method_is_not_a_missing_model(case, client, fake_ollama):
    """Recorded with a wrong method; a proxy may return it for the right one."""
    fake_ollama.on(WRONG_METHOD[case], answer_of(recording(case)["response"]))
    ask_it = {"show": client.show, "delete": client.delete}.get(case.split("_")[-1])
    with pytest.raises(errors.ServerError) as info:
        ask_it("x") if ask_it else client.list()
    assert type(info.value) is errors.ServerError
    assert info.value.status_code == 405
    assert "405" in info.value.why


def test_a_second_pull_of_a_model_joins_the_running_one(client, fake_ollama):
    responses = recording("pull_twice_at_once")["responses"]
    fake_ollama.on("POST /api/pull", *map(answer_of, responses.values()))
    for _ in responses:
        transfer = TransferProgress()
        for progress in client.pull("smollm2:135m"):
            transfer.add(progress)
        assert transfer.was_needed
        assert transfer.status == "success"
        assert transfer.completed_bytes == transfer.total_bytes >= 98_362_432


def test_a_reply_continues_while_its_model_is_deleted(client, fake_ollama):
    whole = recording("delete_during_generation")
    deleted = whole["meanwhile"]["delete_sent_while_generating"]
    fake_ollama.on("POST /api/chat", answer_of(whole["requests"]["a"]["response"]))
    fake_ollama.on("DELETE /api/delete", answer_of(deleted))
    chunks = iter(client.chat("todelete", []))
    next(chunks)
    client.delete("todelete")
    *_, last = chunks
    assert last.done_reason == "length"
    assert last.stats.eval_count == 80
