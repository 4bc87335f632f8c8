"""``%ollama stats``, and what a waiting cell knows from earlier replies."""

import threading

from fake_ollama import Answer, Wait, reply_line

COLD = {
    "total_duration": 70_000_000_000,
    "load_duration": 21_400_000_000,
    "prompt_eval_count": 2000,
    "prompt_eval_duration": 40_000_000_000,
    "eval_count": 30,
    "eval_duration": 1_000_000_000,
}


def test_earlier_replies_are_summed_and_tell_how_long_the_next_takes(
    kernel, fake_ollama
):
    assert "No replies yet" in kernel.run("%ollama stats").text
    fake_ollama.reply("Hi.", stats=COLD)
    kernel.run("%%ollama\nHello")
    fake_ollama.reply("Hi.", stats=COLD | {"load_duration": 33_000_000_000})
    kernel.run("%%ollama --once\nHello")  # only this kernel knows of that load
    gate, seen = threading.Event(), []

    def answer(request):
        return Answer([Wait(gate), reply_line(request.json, content="Hi.", done=True)])

    fake_ollama.on("POST /api/chat", answer)

    def watch(ran):
        if "reading" in ran.html:
            seen.append(ran.html)
            gate.set()

    cell = f"%%ollama --new\n{'five words make six tokens ' * 400}"
    ran = kernel.collect(kernel.send(cell), until=watch)
    assert ran.status == "ok", ran.error
    assert "loading llama3.2:3b (2.0 GB)… " in seen[0]
    assert " s · last time 33 s · reading about 2," in seen[0]
    assert " tokens, about 60 s<" in seen[0]

    ran = kernel.run("used = %ollama stats --days 2\nused")
    model, day = ran.text.split("\n\n")[:2]
    numbers = ["llama3.2:3b", "2", "2,000", "50", "30", "30", "70", "s"]
    assert model.split("\n")[-1].split() == numbers
    assert day.endswith("━" * 12)
    assert ran.html.count("<table") == 2
    assert "All notebooks" in ran.text
    assert "1 to 9999" in kernel.run("%ollama stats --days 0").streams
    assert "--all" not in kernel.run("%ollama stats --all").text
    ran = kernel.run("print(used.to_frame()['prompt tokens'].tolist())")
    assert ran.streams == "[2000]\n" or "pandas" in ran.error
    ran = kernel.run("used.plot()")
    assert "image/png" in ran.outputs[0]["data"] if not ran.error else ran.error
