"""Replies that were cut off or stopped: what is said, what is sent, ``continue``."""

import threading

import nbformat
import pytest
from fake_ollama import STATS, Answer, Wait, reply_line

MODEL = "llama3.2:3b"
CUT = "[cut off at num_predict 5]\nTo go on: %ollama continue"
STOPPED = "[interrupted]\nTo go on: %ollama continue"


def line(**facts):
    return reply_line({"model": MODEL, "messages": []}, MODEL, **facts)


def messages(fake_ollama):
    """Return the texts of the last request with their roles."""
    sent = fake_ollama.bodies("/api/chat")[-1]["messages"]
    return [(one["role"], one["content"]) for one in sent]


def cut(kernel, fake_ollama, text="Once upon", cell="%%ollama -o num_predict 5\nTell"):
    fake_ollama.reply(text, done_reason="length")
    ran = kernel.run(cell, "a")
    fake_ollama.reply([" a", " time."])
    return ran


def stop(kernel, fake_ollama, code, *steps, shown, cell_id="a"):
    """Run a cell and stop it when something is shown."""
    fake_ollama.chat(lambda _: Answer([*steps, Wait(threading.Event())]))
    msg_id = kernel.send(code, cell_id)
    seen = kernel.collect(msg_id, until=lambda ran: shown in ran.html)
    kernel.manager.interrupt_kernel()
    ran = kernel.collect(msg_id, since=seen)
    fake_ollama.reply([" a", " time."])
    return ran


def test_a_cut_reply_says_so_and_how_to_go_on(kernel, fake_ollama):
    ran = cut(kernel, fake_ollama)
    assert ran.status == "ok"
    assert ran.text == f"Once upon\n\n{CUT}"
    assert ran.html.count("cut off") == 1
    assert ran.provenance["status"] == "cut"
    assert kernel.run("r = %ollama last\nprint(r.status)").streams == "cut\n"
    assert "cut" in kernel.run("%ollama history").text


def test_continue_goes_on_in_place_and_shows_the_whole_reply(kernel, fake_ollama):
    cut(kernel, fake_ollama)
    ran = kernel.run("%ollama continue", "b")
    assert ran.status == "ok", ran.error
    assert ran.text == "Once upon a time."
    assert len(ran.outputs) == 1
    assert messages(fake_ollama) == [("user", "Tell"), ("assistant", "Once upon")]
    assert fake_ollama.bodies("/api/chat")[-1]["options"] == {"num_predict": 5}
    assert ran.provenance["status"] == "complete"
    assert ran.provenance["turn"] == 1
    assert ran.provenance["of_cell"] == "a"
    assert ran.provenance["stats"]["eval_count"] == 2 * STATS["eval_count"]
    kernel.run("%%ollama\nAnd then?", "c")
    assert messages(fake_ollama)[:2] == [
        ("user", "Tell"),
        ("assistant", "Once upon a time."),
    ]
    assert len(kernel.run("%ollama history").html.split("<tr>")) == 4
    assert "stale" not in kernel.run("%ollama history").text


def test_a_reply_can_be_continued_again_and_undone(kernel, fake_ollama):
    cut(kernel, fake_ollama)
    fake_ollama.reply(" a", done_reason="length")
    ran = kernel.run("%ollama continue", "b")
    assert ran.text == f"Once upon a\n\n{CUT}"
    fake_ollama.reply(" time.")
    assert kernel.run("%ollama continue -o num_predict 500", "c").text == (
        "Once upon a time."
    )
    assert fake_ollama.bodies("/api/chat")[-1]["options"] == {"num_predict": 500}
    ran = kernel.run("%ollama continue", "d")
    assert ran.text.startswith("The last reply is complete.")
    kernel.run("%ollama undo")
    kernel.run("%ollama undo")
    kernel.run("%%ollama\nWell?", "e")
    assert messages(fake_ollama)[1] == ("assistant", "Once upon")


def test_run_all_gives_the_same_chat_once(kernel, fake_ollama):
    """The second time, the chat has the complete turn of the cell below."""
    for _ in range(2):
        cut(kernel, fake_ollama)
        ran = kernel.run("%ollama continue", "b")
        assert ran.text == "Once upon a time."
        kernel.run("%%ollama\nAnd then?", "c")
    assert len(kernel.run("%ollama history").html.split("<tr>")) == 4
    assert "stale" not in kernel.run("%ollama history").text


def test_an_earlier_turn_of_another_chat_can_be_continued(kernel, fake_ollama):
    kernel.run("%%ollama -s Short.\nFirst")
    cell = "%%ollama -o num_predict 5 -c 'my ideas'\nTell"
    ran = cut(kernel, fake_ollama, cell=cell)
    assert ran.text.endswith("%ollama continue -c 'my ideas'")
    kernel.run("%%ollama -c 'my ideas'\nMore", "c")
    ran = kernel.run("%ollama continue -c 'my ideas' --turn 1", "d")
    assert ran.text == "Once upon a time."
    assert messages(fake_ollama) == [("user", "Tell"), ("assistant", "Once upon")]


def test_system_images_and_model_are_those_of_the_turn(kernel, fake_ollama):
    can = {"capabilities": ["completion", "vision"]}
    fake_ollama.models([{"name": MODEL, **can}, {"name": "b:1b", **can}])
    kernel.run("from ollama_magic.client.images import png_of")
    kernel.run("png = png_of(1, 1, 1, b'1')")
    kernel.run("%%ollama b:1b -s Gently.\nHello")
    cut(
        kernel,
        fake_ollama,
        cell="%%ollama b:1b -a png -s Firmly. --keep-alive 5m\nTell",
    )
    first = fake_ollama.bodies("/api/chat")[-1]
    assert "images" in first["messages"][-1]
    assert kernel.run("%ollama continue", "c").text == "Once upon a time."
    second = fake_ollama.bodies("/api/chat")[-1]
    assert second["messages"].pop() == {"role": "assistant", "content": "Once upon"}
    assert second == first


def test_a_tool_call_before_the_reply_is_sent_again(kernel, fake_ollama):
    fake_ollama.models([{"name": MODEL, "capabilities": ["completion", "tools"]}])
    kernel.run("def now():\n    'Tell the time.'\n    return '12:00'")
    call = line(tool_calls=[{"function": {"name": "now", "arguments": {}}}])
    done = line(done=True, done_reason="stop")
    cut_off = [line(content="It is"), line(done=True, done_reason="length", **STATS)]
    fake_ollama.on("POST /api/chat", Answer([call, done]), Answer(cut_off))
    kernel.run("%%ollama -T now --yes\nTime?", "a")
    fake_ollama.on("POST /api/chat", Answer([line(content=" noon."), done]))
    ran = kernel.run("%ollama continue", "b")
    assert ran.text == "It is noon."
    assert "called now" in ran.html
    roles = [role for role, _ in messages(fake_ollama)]
    assert roles == ["user", "assistant", "tool", "assistant"]
    kernel.run("%%ollama\nAnd now?", "c")
    roles = [role for role, _ in messages(fake_ollama)]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]


def test_an_error_while_going_on_leaves_the_turn_as_it_was(kernel, fake_ollama):
    cut(kernel, fake_ollama)
    fake_ollama.on("POST /api/chat", Answer([], status=500))
    ran = kernel.run("%ollama continue", "b")
    assert ran.status == "error"
    assert [one["type"] for one in ran.outputs] == ["error"]
    del fake_ollama._scripts["POST /api/chat"]
    assert kernel.run("%ollama continue", "b").text == "Once upon a time."


def test_a_reply_that_broke_off_can_be_continued(kernel, fake_ollama):
    fake_ollama.on("POST /api/chat", Answer([line(content="Once upon")]))
    ran = kernel.run("%%ollama\nTell", "a")
    assert ran.status == "error"
    assert ran.text.endswith("\nTo go on: %ollama continue")
    del fake_ollama._scripts["POST /api/chat"]
    fake_ollama.reply([" a", " time."])
    assert kernel.run("%ollama continue", "b").text == "Once upon a time."


REFUSED = {
    "no turn": ("1", "%ollama continue", "has no turn yet"),
    "another number": ("%%ollama\nHi", "%ollama continue --turn 7", "turns are 1 to 1"),
    "a word": ("1", "%ollama continue --turn x", "whole number"),
    "JSON": ("%%ollama -f json\nHi", "%ollama continue", "cannot be continued"),
    "thinking": ("%%ollama --hide-thinking\nHi", "%ollama continue", "no text"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_continued_is_an_error(kernel, fake_ollama, case):
    first, command, said = REFUSED[case]
    text = "" if case == "thinking" else '{"a'
    fake_ollama.reply(text, thinking="Hm", done_reason="length")
    assert kernel.run(first, "a").status == "ok"
    sent = len(fake_ollama.requests)
    ran = kernel.run(command, "b")
    assert ran.status == "error"
    assert said in (ran.error or ran.streams)
    assert len(fake_ollama.requests) == sent


def test_json_and_one_offs_are_told_to_raise_the_limit(kernel, fake_ollama):
    ran = cut(kernel, fake_ollama, cell="%%ollama -1 -o num_predict 5\nTell")
    higher = "run the cell again with a higher -o num_predict"
    assert ran.text == f"Once upon\n\n[cut off at num_predict 5]\nTo go on: {higher}"
    fake_ollama.reply("", thinking="Hm", done_reason="length")
    ran = kernel.run("%%ollama\nTell", "a")
    assert ran.text.strip() == f"[cut off at num_predict]\nTo go on: {higher}"


# -- stopped replies ---------------------------------------------------------------


def test_stopping_is_said_once_and_run_all_stops(kernel, fake_ollama):
    fake_ollama.chat(
        lambda _: Answer([line(content="Once upon"), Wait(threading.Event())])
    )
    first = kernel.send("%%ollama\nTell", "a")
    second = kernel.send("print('not run')", "b")
    seen = kernel.collect(first, until=lambda ran: "Once" in ran.html)
    kernel.manager.interrupt_kernel()
    ran = kernel.collect(first, since=seen)
    assert ran.status == "error"
    assert ran.text == f"Once upon\n\n{STOPPED}"
    assert [one["type"] for one in ran.outputs] == ["display_data"]
    assert kernel._reply(second) == "aborted"
    assert "you stopped it" in kernel.run("%ollama fix").error
    fake_ollama.reply([" a", " time."])
    assert kernel.run("%ollama continue", "c").text == "Once upon a time."


def test_a_stopped_line_of_a_longer_cell_says_that_the_rest_did_not_run(
    kernel, fake_ollama
):
    code = (
        "for _ in range(2):\n    try:\n        %ollama ask Tell\n"
        "    except Exception:\n        pass\nprint('not run')"
    )
    ran = stop(kernel, fake_ollama, code, line(content="Once"), shown="Once")
    assert ran.status == "error"
    assert ran.error == "Interrupted: stopped; partial reply kept (4 characters)"
    assert len(fake_ollama.bodies("/api/chat")) == 1


def test_a_turn_without_a_reply_is_kept_and_not_sent(kernel, fake_ollama):
    kernel.run("%%ollama\nFirst", "a")
    thinking = line(thinking="Hm, so")
    ran = stop(kernel, fake_ollama, "%%ollama\nLong", thinking, shown="Hm", cell_id="b")
    assert ran.text.strip() == "[interrupted]"
    assert ran.provenance["turn"] == 2
    kernel.run("%%ollama\nThird", "c")
    assert ("user", "Long") not in messages(fake_ollama)
    assert len(messages(fake_ollama)) == 3
    history = kernel.run("%ollama history").text
    assert "Long" not in history
    assert "1 turn without a reply, not sent: %ollama history --all" in history
    assert "before the last %ollama new" not in history
    assert "interrupted, not sent" in kernel.run("%ollama history --all").text
    kernel.run("%%ollama\nLong", "b")
    assert "Long" in kernel.run("%ollama history").text
    kernel.run("%%ollama\nFourth", "d")
    assert ("user", "Long") in messages(fake_ollama)


def test_a_stopped_continuation_keeps_what_it_added(kernel, fake_ollama):
    cut(kernel, fake_ollama)
    ran = stop(
        kernel, fake_ollama, "%ollama continue", line(content=" a"), shown="upon a"
    )
    assert ran.text == f"Once upon a\n\n{STOPPED}"
    assert ran.provenance["status"] == "interrupted"
    ran = kernel.run("%ollama continue", "c")
    assert ran.text == "Once upon a a time."
    assert "tokens/s" not in ran.html


def test_a_continued_reply_is_one_turn_in_a_restored_chat(
    kernel, fake_ollama, tmp_path
):
    sources = ["%%ollama -o num_predict 5\nTell", "%ollama continue"]
    shown = [cut(kernel, fake_ollama), kernel.run(sources[1], "b")]
    notebook = nbformat.v4.new_notebook()
    for cell_id, source, ran in zip("ab", sources, shown, strict=True):
        (output,) = ran.outputs
        cell = nbformat.v4.new_code_cell(source, id=cell_id)
        cell.outputs = [
            nbformat.v4.new_output(
                "display_data", output["data"], metadata=output["metadata"]
            )
        ]
        notebook.cells.append(cell)
    nbformat.write(notebook, tmp_path / "notebook.ipynb")
    kernel.run("%reload_ext ollama_magic")
    kernel.run(f"%config OllamaMagics.history_file = {str(tmp_path / 'new.sqlite')!r}")
    ran = kernel.run("%ollama restore")
    assert "Restored 1 turn" in ran.text, ran.text
    assert "differ" not in ran.text
    kernel.run("%%ollama\nAnd?", "c")
    assert messages(fake_ollama)[1] == ("assistant", "Once upon a time.")


def test_a_replay_without_a_server_gives_the_same_outputs(kernel, fake_ollama):
    shown = []
    for host in (fake_ollama.url, "127.0.0.1:9", "127.0.0.1:9"):
        kernel.run("%reload_ext ollama_magic\n%config OllamaMagics.cached = True")
        kernel.run(f"%config OllamaMagics.host = {host!r}")
        cell = f"%%ollama {MODEL} -o num_predict 5\nTell"
        ran = [cut(kernel, fake_ollama, cell=cell), kernel.run("%ollama continue", "b")]
        shown.append([(one.html, one.text, one.provenance) for one in ran])
    assert shown[0] == shown[1] == shown[2]
