"""Run all benchmarks and print one table.

``python -m benchmarks [--quick] [PART ...]``, in the project folder. ``--quick`` is a
short trial: it measures each thing once, with shorter replies.
"""

import argparse
import importlib
import platform
import time
from datetime import UTC, datetime
from os import cpu_count, getloadavg

from benchmarks.table import HEAD, Scale, line

PARTS = (
    "streaming_kernel",
    "streaming_browser",
    "reader",
    "startup",
    "completion",
    "history",
    "panel",
    "mapping",
    "peers",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    args = parser.parse_args()
    began_s = time.monotonic()
    print(
        f"{datetime.now(UTC):%d %B %Y}, Python {platform.python_version()}, "
        f"{cpu_count()} cores, load {getloadavg()[0]:.1f} at the beginning\n\n{HEAD}",
        flush=True,
    )
    for part in args.parts or PARTS:
        module = importlib.import_module(f"benchmarks.{part}")
        for row in module.rows(Scale(args.quick)):
            print(line(row), flush=True)
    print(f"\n{(time.monotonic() - began_s) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
