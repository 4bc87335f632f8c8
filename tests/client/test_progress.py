"""How status lines of a pull add up."""

import json
import threading

from ollama_magic.client.progress import MAX_LAYERS, TransferProgress
from ollama_magic.client.types import Progress


class Clock:
    """Time that goes on only when it is told to."""

    now = 0.0

    def __call__(self):
        return self.now


def transfer_of(*lines, clock=None):
    """Return what lines add up to that come one a second."""
    clock = clock or Clock()
    transfer = TransferProgress(clock=clock)
    for second, line in enumerate(lines):
        clock.now = float(second)
        transfer.add(line)
    return transfer


def layer(digest, completed, total=1000):
    return Progress(f"pulling {digest}", digest, total, completed)


def test_layers_are_summed():
    transfer = transfer_of(layer("a", 1000), layer("b", 500))
    assert (transfer.completed_bytes, transfer.total_bytes) == (1500, 2000)
    assert transfer.share == 0.75


def test_a_layer_that_stops_short_of_its_total_is_there_with_the_next_status():
    """Recorded: the last line of a layer need not reach its total."""
    transfer = transfer_of(layer("a", 990), Progress("verifying sha256 digest"))
    assert transfer.share == 1.0


def test_progress_that_goes_backwards_gives_no_negative_speed():
    transfer = transfer_of(layer("a", 900), layer("a", 100))
    assert transfer.bytes_per_second == 0.0
    assert transfer.line() == "pulling a · 100 B of 1.0 kB"


def test_a_total_of_zero_divides_nothing():
    transfer = transfer_of(Progress("pulling a", "a", 0, 0))
    assert transfer.share is None
    assert transfer.line() == "pulling a"


def test_a_pull_of_what_is_there_needs_nothing(recording):
    """Recorded: all layers are whole from their first line on."""
    for case, was_needed in (("pull_existing", False), ("pull_progress", True)):
        entries = recording(case)["response"]["lines"]
        lines = [json.loads(entry["line"]) for entry in entries if "line" in entry]
        transfer = transfer_of(*map(Progress.from_json, lines))
        assert transfer.total_bytes > 98_000_000
        assert transfer.was_needed is was_needed


def test_the_line_tells_speed_and_time_left():
    transfer = transfer_of(layer("a", 100), layer("a", 300))
    assert transfer.line() == "pulling a · 300 B of 1.0 kB · 200 B/s · 4 s left"


def test_a_layer_that_brings_nothing_for_long_is_stalled_and_says_so():
    """Recorded: a registry that is gone repeats the same line for a minute."""
    clock = Clock()
    transfer = transfer_of(layer("a", 100), layer("a", 300), clock=clock)
    clock.now = 60.0
    assert not transfer.is_stalled
    clock.now = 76.0
    transfer.add(layer("a", 300))
    assert transfer.line() == (
        "pulling a · 300 B of 1.0 kB · stalled: no data for 1 min 15 s"
    )
    transfer.add(layer("a", 301))
    assert not transfer.is_stalled


def test_it_is_read_in_one_thread_while_another_adds_to_it():
    transfer = TransferProgress()
    reader = threading.Thread(
        target=lambda: [transfer.add(layer(str(n), 1)) for n in range(500)]
    )
    reader.start()
    while reader.is_alive():
        transfer.line()
    assert transfer.completed_bytes == 500


def test_a_server_that_tells_of_layers_without_end_is_not_followed():
    transfer = TransferProgress()
    for number in range(3 * MAX_LAYERS):
        transfer.add(layer(str(number), 1))
    assert transfer.total_bytes == 1000 * MAX_LAYERS
    transfer.add(layer("0", 500))  # one that it knows
    assert transfer.completed_bytes == 499 + MAX_LAYERS


def test_checking_what_has_come_is_no_stall():
    clock = Clock()
    transfer = transfer_of(layer("a", 990), Progress("verifying"), clock=clock)
    clock.now = 500.0
    assert not transfer.is_stalled
