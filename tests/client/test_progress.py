"""How status lines of a pull add up."""

import json
import threading

from ollama_magic.client.progress import MAX_LAYERS, TransferProgress
from ollama_magic.client.types import Progress


class Clock:
    """A clock that the test advances."""

    now = 0.0

    def __call__(self):
        return self.now


def transfer_of(*lines, clock=None):
    """Return the sum of lines that arrive one per second."""
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


def test_the_next_status_completes_a_layer():
    """Recorded: the last line of a layer need not reach its total."""
    transfer = transfer_of(layer("a", 990), Progress("verifying sha256 digest"))
    assert transfer.share == 1.0


def test_decreasing_progress_gives_no_negative_speed():
    transfer = transfer_of(layer("a", 900), layer("a", 100))
    assert transfer.bytes_per_second == 0.0
    assert transfer.line() == "downloading · 100 B of 1.0 kB"


def test_a_total_of_zero_is_not_divided_by():
    transfer = transfer_of(Progress("pulling a", "a", 0, 0))
    assert transfer.share is None
    assert transfer.line() == "downloading"


def test_a_pull_of_an_up_to_date_model_transfers_nothing(recording):
    """Recorded: all layers are complete from their first line on."""
    for case, was_needed in (("pull_existing", False), ("pull_progress", True)):
        entries = recording(case)["response"]["lines"]
        lines = [json.loads(entry["line"]) for entry in entries if "line" in entry]
        transfer = transfer_of(*map(Progress.from_json, lines))
        assert transfer.total_bytes > 98_000_000
        assert transfer.was_needed is was_needed


def test_the_line_shows_speed_and_remaining_time():
    transfer = transfer_of(layer("a", 100), layer("a", 300))
    assert transfer.line() == "downloading · 300 B of 1.0 kB · 200 B/s · 4 s left"


def test_a_layer_without_data_for_long_is_shown_as_stalled():
    """Recorded: an unreachable registry repeats the same line for a minute."""
    clock = Clock()
    transfer = transfer_of(layer("a", 100), layer("a", 300), clock=clock)
    clock.now = 60.0
    assert not transfer.is_stalled
    clock.now = 76.0
    transfer.add(layer("a", 300))
    assert transfer.line() == (
        "downloading · 300 B of 1.0 kB · stalled: no data for 1 min 15 s"
    )
    transfer.add(layer("a", 301))
    assert not transfer.is_stalled


def test_one_thread_reads_progress_while_another_adds_to_it():
    transfer = TransferProgress()
    reader = threading.Thread(
        target=lambda: [transfer.add(layer(str(n), 1)) for n in range(500)]
    )
    reader.start()
    while reader.is_alive():
        transfer.line()
    assert transfer.completed_bytes == 500


def test_layers_over_the_limit_are_ignored():
    transfer = TransferProgress()
    for number in range(3 * MAX_LAYERS):
        transfer.add(layer(str(number), 1))
    assert transfer.total_bytes == 1000 * MAX_LAYERS
    transfer.add(layer("0", 500))  # a known layer
    assert transfer.completed_bytes == 499 + MAX_LAYERS


def test_verifying_a_download_is_not_a_stall():
    clock = Clock()
    transfer = transfer_of(layer("a", 990), Progress("verifying"), clock=clock)
    clock.now = 500.0
    assert not transfer.is_stalled
