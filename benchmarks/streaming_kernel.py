"""What a streamed reply costs a kernel and the wire: bytes, messages, CPU, outputs.

``python benchmarks/streaming_kernel.py`` prints a Markdown table. Messages are counted
on the kernel's own IOPub socket, CPU is the kernel's process time for the whole cell.
"""

import json
import sys
import threading
from pathlib import Path

import zmq
from jupyter_client.manager import KernelManager

HERE = str(Path(__file__).parent)
SIZES = (1000, 4000, 16_000)
NAMES = ("message floor, 10 Hz", "ours", "naive, 20 Hz", "naive, every token")
RATE = 100
CODE = """
import json, sys, time
sys.path.insert(0, {here!r})
from streaming_displays import run
before = time.process_time()
result = run({name!r}, {count}, {rate}, is_real_time=False)
result["cpu_s"] = time.process_time() - before
print("RESULT", json.dumps(result))
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


def measure(name: str, count: int) -> dict[str, float]:
    """Run one display in a kernel of its own, warmed up by a short reply."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        for size in (100, count):
            wire = Wire(manager)
            wire.start()
            # A subscriber that has just connected may miss the first messages.
            client.execute_interactive("import time; time.sleep(0.5)", timeout=60)
            code = CODE.format(here=HERE, name=name, count=size, rate=RATE)
            client.execute(code)
            if not wire.has_result.wait(900):
                raise TimeoutError(name)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    row = {"messages": wire.messages, "wire": wire.bytes, "outputs": len(wire.outputs)}
    return wire.result | row


def main() -> None:
    sizes = [int(argument) for argument in sys.argv[1:]] or SIZES
    print(
        "| display | tokens | wire MB | x reply | messages | kernel CPU s | outputs |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name in NAMES:
        for size in sizes:
            row = measure(name, size)
            ratio = row["wire"] / row["bytes"]
            live = row["outputs"] - (1 if name == "ours" else 0)
            print(
                f"| {name} | {size} | {row['wire'] / 1e6:.2f} | {ratio:.0f} | "
                f"{row['messages']} | {row['cpu_s']:.2f} | {live} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
