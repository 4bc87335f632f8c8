"""What a streamed reply costs a kernel and the wire: bytes, messages, CPU, outputs.

``python benchmarks/streaming_kernel.py`` prints a Markdown table. Messages are counted
on the kernel's own IOPub socket, CPU is the kernel's process time for the whole cell.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq
from jupyter_client.manager import KernelManager

HERE = str(Path(__file__).parent)
SIZES = (1000, 4000, 16_000)
NAMES = ("message floor, 10 Hz", "ours", "naive, 20 Hz", "naive, every token")
RATE = 100
MOST_NAIVE = 4000
"""Tokens; the next size would send half a gigabyte."""
CODE = """
import json, sys, time
sys.path.insert(0, {here!r})
from streaming_displays import run
before = time.process_time()
result = run({name!r}, {count}, {rate}, is_real_time=False)
result["cpu_s"] = time.process_time() - before
print("RESULT", json.dumps(result))
"""

FIRST_TEXT = """
import json, sys, time
sys.path.insert(0, {here!r})
from streaming_displays import Ours
shown = Ours(time.monotonic)
time.sleep({wait_s})  # the server's time to the first token
before = time.perf_counter()
shown.feed("The")
print("RESULT", json.dumps({{"first_s": time.perf_counter() - before}}))
"""


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
    """Start a kernel; yield what runs code in it and returns what was counted."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(stderr=subprocess.DEVNULL)
    client = manager.client()
    client.start_channels()

    def run(code: str) -> Wire:
        wire = Wire(manager)
        wire.start()
        # A subscriber that has just connected may miss the first messages.
        client.execute_interactive("import time; time.sleep(0.5)", timeout=60)
        client.execute(code)
        if not wire.has_result.wait(900):
            raise TimeoutError(code)
        return wire

    try:
        client.wait_for_ready(timeout=60)
        yield run
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def measure(name: str, count: int) -> dict[str, float]:
    """Run one display in a kernel of its own, warmed up by a short reply."""
    with kernel() as run:
        for size in (100, count):
            wire = run(CODE.format(here=HERE, name=name, count=size, rate=RATE))
    row = {"messages": wire.messages, "wire": wire.bytes, "outputs": len(wire.outputs)}
    return wire.result | row


def first_text_ms(wait_s: float) -> float:
    """Return how long the first fragment takes to be sent, in a new kernel."""
    with kernel() as run:
        wire = run(FIRST_TEXT.format(here=HERE, wait_s=wait_s))
    return 1000 * wire.result["first_s"]


def main() -> None:
    sizes = [int(argument) for argument in sys.argv[1:]] or SIZES
    print(
        "| display | tokens | wire MB | x reply | messages | kernel CPU s | outputs |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name in NAMES:
        for size in sizes:
            if name == "naive, every token" and size > MOST_NAIVE:
                continue
            row = measure(name, size)
            ratio = row["wire"] / row["bytes"]
            live = row["outputs"] - (1 if name == "ours" else 0)
            print(
                f"| {name} | {size} | {row['wire'] / 1e6:.2f} | {ratio:.0f} | "
                f"{row['messages']} | {row['cpu_s']:.2f} | {live} |",
                flush=True,
            )
    for wait_s in (0.0, 0.5):
        took_ms = first_text_ms(wait_s)
        print(
            f"\nFirst text of a new kernel, {wait_s} s after asking: {took_ms:.0f} ms"
        )


if __name__ == "__main__":
    main()
