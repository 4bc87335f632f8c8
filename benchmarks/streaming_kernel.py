"""The cost of a streamed reply in the kernel: bytes, messages, CPU, outputs.

Messages are counted on the kernel's IOPub socket; CPU is the kernel's process time. The
first part uses a simulated clock, so that nothing waits and only work is measured. The
second part runs a whole ``%%ollama`` cell in real time with a server, compared with a
loop that reads the same stream with ``requests`` and shows it naively, or not at all.
"""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import zmq
from jupyter_client.manager import KernelManager

from benchmarks.server import ROOT, ollama
from benchmarks.table import Row, Scale, interleaved

RATE = 100
NAIVE, EVERY, FLOOR = "naive, 20 Hz", "naive, every token", "message floor, 10 Hz"
CODE = """
import json, time
from benchmarks.streaming_displays import run
before = time.process_time()
result = run({name!r}, {count}, {rate}, is_real_time=False)
result["cpu"] = time.process_time() - before
print("RESULT", json.dumps(result))
"""
FIRST_TEXT = """
import json, time
from benchmarks.streaming_displays import Ours
shown = Ours(time.monotonic)
time.sleep({wait_s})  # the server's time to the first token
before = time.perf_counter()
shown.feed("The")
print("RESULT", json.dumps({{"ms": 1000 * (time.perf_counter() - before)}}))
"""
CELLS_SETUP = """
%load_ext ollama_magic
%config OllamaMagics.host = {url!r}
import json, time
from benchmarks.streaming_displays import show_stream
def begin():
    global before
    before = time.process_time()
def end():
    print("RESULT", json.dumps({{"cpu": time.process_time() - before}}))
show_stream({url!r}, "yes:1b", None)
begin(), end()
"""
WARM = "%%ollama 250-1000:1b --once\nHello"


class Wire(threading.Thread):
    """Counts what a kernel publishes, until it is idle again."""

    def __init__(self, manager: KernelManager) -> None:
        super().__init__(daemon=True)
        info = manager.get_connection_info()
        self._socket = zmq.Context.instance().socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        self._socket.connect(f"tcp://{info['ip']}:{info['iopub_port']}")
        self.messages = self.bytes = 0
        self.outputs: set[str] = set()
        self.result: dict[str, float] = {}
        self.has_result = threading.Event()

    def run(self) -> None:
        while not self.has_result.is_set():
            frames = self._socket.recv_multipart()
            header, _, _, content = frames[frames.index(b"<IDS|MSG>") + 2 :][:4]
            kind = json.loads(header)["msg_type"]
            if kind == "stream" and b"RESULT" in content:
                text = json.loads(content)["text"]
                self.result = json.loads(text.split("RESULT")[1])
                self.has_result.set()
            elif kind in {"display_data", "update_display_data", "clear_output"}:
                self.messages += 1
                self.bytes += sum(map(len, frames))
                if kind == "display_data":
                    self.outputs.add(header.decode())
            elif kind == "error":
                raise RuntimeError(content.decode())


@contextmanager
def kernel() -> Iterator[Callable[[str], Wire]]:
    """Start a kernel; yield what runs cells in it and returns what was counted."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(stderr=subprocess.DEVNULL, cwd=str(ROOT))
    client = manager.client()
    client.start_channels()

    def run(*codes: str) -> Wire:
        wire = Wire(manager)
        wire.start()
        # A subscriber that has just connected may miss the first messages.
        client.execute_interactive("import time; time.sleep(0.5)", timeout=60)
        for code in codes:
            client.execute(code)
        if not wire.has_result.wait(900):
            raise TimeoutError(codes)
        return wire

    try:
        client.wait_for_ready(timeout=60)
        yield run
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def simulated(name: str, count: int) -> dict[str, float]:
    """Run one display in a kernel of its own, warmed up by a short reply."""
    with kernel() as run:
        for size in (100, count):
            wire = run(CODE.format(name=name, count=size, rate=RATE))
    live = len(wire.outputs) - (1 if name == "ours" else 0)
    return wire.result | {
        "messages": wire.messages,
        "MB": wire.bytes / 1e6,
        "live": live,
    }


def first_text(wait_s: float) -> dict[str, float]:
    """Return how long the first fragment takes to be sent, in a new kernel."""
    with kernel() as run:
        return run(FIRST_TEXT.format(wait_s=wait_s)).result


def whole_cell(url: str, name: str, count: int) -> dict[str, float]:
    """Return the CPU of a kernel that asks a server and shows the reply."""
    model = f"{count}-{RATE}:1b"
    rates = {NAIVE: "20", EVERY: "1e9", "bare loop": "None"}
    cell = f"%%ollama {model} --once\nHello"
    if name != "ours":
        cell = f"show_stream({url!r}, {model!r}, {rates[name]})"
    with kernel() as run:
        run(CELLS_SETUP.format(url=url))
        run(WARM, "begin(), end()")
        return run("begin()", cell, "end()").result


def rows(scale: Scale):
    count, long = (1000, 4000) if scale.is_quick else (4000, 16_000)
    names = ("ours", NAIVE, FLOOR)
    ways = {n: lambda n=n: simulated(n, count) for n in names}
    taken = interleaved(scale.runs(5), ways)
    taken |= interleaved(1, {EVERY: lambda: simulated(EVERY, count)})
    ours, floor = taken["ours"], taken[FLOOR]

    def row(what, key, target, limit=(), digits=2):
        naive, every = taken[NAIVE][key], taken[EVERY][key]
        what = f"{count:,} tokens: {what}"
        return Row(what, ours[key], target, naive, every, limit, digits)

    answer_mb = [size / 1e6 for size in ours["bytes"]]
    yield row("MB on the wire (limit: the reply once)", "MB", "0.8", answer_mb)
    yield row(
        "kernel CPU s of the display (limit: bare messages)", "cpu", "0.6", floor["cpu"]
    )
    yield row("messages", "messages", "", digits=0)
    yield row("live outputs at most", "live", "50", digits=0)
    more = interleaved(scale.runs(5), {"long": lambda: simulated("ours", long)})["long"]
    grown = {
        key: [b / a for a, b in zip(ours[key], more[key], strict=True)]
        for key in ("MB", "cpu")
    }
    yield Row(f"{long:,} tokens: MB on the wire", more["MB"])
    what = f"{long:,} over {count:,} tokens"
    yield Row(f"{what}: bytes", grown["MB"], "6", limit=[4.0])
    yield Row(f"{what}: CPU", grown["cpu"], "4.5", limit=[4.0])
    yield Row(f"{long:,} tokens: live outputs at most", more["live"], "50", digits=0)
    for wait_s in (0.5, 0.0):
        runs = interleaved(scale.runs(5), {"first": lambda w=wait_s: first_text(w)})
        what = f"first text of a new kernel, {wait_s} s after asking, ms"
        yield Row(what, runs["first"]["ms"], "50", digits=0)
    yield from _cells(scale, count)


def _cells(scale: Scale, count: int):
    with ollama() as url:

        def ways(*names):
            return {n: lambda n=n: whole_cell(url, n, count) for n in names}

        taken = interleaved(scale.runs(2), ways("ours", NAIVE, "bare loop"))
        every = interleaved(1, ways(EVERY))
    yield Row(
        f"{count:,} tokens in real time: kernel CPU s of the cell (limit: bare loop)",
        taken["ours"]["cpu"],
        "",
        taken[NAIVE]["cpu"],
        every[EVERY]["cpu"],
        taken["bare loop"]["cpu"],
    )
