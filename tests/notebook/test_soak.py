"""Many turns and interrupts in one kernel: nothing grows with them.

Runs 100 turns, or 2,000 with ``SOAK=2000``; ``-s`` shows the figures.
"""

import gc
import os
import threading
from functools import partial
from pathlib import Path

import pytest
from fake_ollama import Answer, FakeOllama, Wait, reply_line
from kernel import Kernel

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux"),
    pytest.mark.slow,
]

TURNS = int(os.environ.get("SOAK", "100"))
CHUNKS = 200
WINDOW = 30
"""How many turns are compared: the first ones after warm-up with the last ones."""
MAX_GROWTH_MB = 20
TICKS = os.sysconf("SC_CLK_TCK")
line = partial(reply_line, {"model": "llama3.2:3b", "messages": []})


class Watched:
    """What the operating system reports about the process of a kernel."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.folder = Path(f"/proc/{kernel.manager.provisioner.process.pid}")

    @property
    def cpu_s(self):
        fields = (self.folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def settled(self):
        """Return megabytes, open files and threads while nothing runs."""
        self.kernel.run("import gc; gc.collect()")
        status = (self.folder / "status").read_text().split()
        megabytes = int(status[status.index("VmRSS:") + 1]) / 1024
        files = len(list((self.folder / "fd").iterdir()))
        return megabytes, files, len(list((self.folder / "task").iterdir()))


def turn(kernel, number):
    # NB: ``--last`` limits the request, so that the test measures the extension alone.
    ran = kernel.run(f"%%ollama --last 5\nQuestion {number}", f"cell{number}")
    assert ran.status == "ok", ran.error
    assert ran.place == f"turn {number + 1} of main"
    return ran


def stop(kernel, fake, number):
    endless = [line(content=f"word{n} ") for n in range(50)]
    fake.on("POST /api/chat", Answer([*endless, Wait(threading.Event())]))
    msg_id = kernel.send(f"%%ollama --last 5\nQuestion {number}", f"cell{number}")
    kernel.collect(msg_id, until=lambda ran: "word49" in ran.html)
    kernel.manager.interrupt_kernel()
    ran = kernel.collect(msg_id)
    assert (ran.status, "[interrupted]" in ran.html) == ("error", True)
    fake._scripts.clear()


def test_nothing_grows_with_the_turns(tmp_path):
    with FakeOllama() as fake:
        fake.reply([f"piece {n} of *it*, " for n in range(CHUNKS)])
        kernel = Kernel()
        try:
            kernel.run("%load_ext ollama_magic")
            # IPython keeps the value of each cell in Out, which must not be measured.
            kernel.run("get_ipython().displayhook.do_full_cache = False")
            kernel.run(f"%config OllamaMagics.host = {fake.url!r}")
            file = str(tmp_path / "chats.sqlite")
            kernel.run(f"%config OllamaMagics.history_file = {file!r}")
            watched, took_s, counts = Watched(kernel), [], []
            for number in range(TURNS):
                if number == 20:
                    counts.append(watched.settled())
                began_s = watched.cpu_s
                if number % 10 == 9:
                    stop(kernel, fake, number)
                else:
                    turn(kernel, number)
                    took_s.append(watched.cpu_s - began_s)
                del fake.requests[:]
            counts.append(watched.settled())
        finally:
            kernel.close()
            gc.collect()
    first, last = sum(took_s[10 : 10 + WINDOW]), sum(took_s[-WINDOW:])
    (mb, files, threads), (mb_after, files_after, threads_after) = counts
    print(
        f"\n{TURNS} turns of {CHUNKS} chunks, every tenth stopped: memory "
        f"{mb:.1f} -> {mb_after:.1f} MB, files {files} -> {files_after}, threads "
        f"{threads} -> {threads_after}, CPU of a turn {1000 * first / WINDOW:.1f} -> "
        f"{1000 * last / WINDOW:.1f} ms"
    )
    assert mb_after - mb < MAX_GROWTH_MB
    assert abs(files_after - files) <= 3  # the sockets of the kernel vary
    assert abs(threads_after - threads) <= 1
    assert last <= 1.5 * first
