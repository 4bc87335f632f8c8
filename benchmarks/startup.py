"""What ``%load_ext ollama_magic`` adds to a process that has IPython already.

Each figure is the median of fresh processes; the ratio to importing IPython is what
can be compared between machines. Run: ``python benchmarks/startup.py [RUNS]``.
"""

import json
import statistics
import subprocess
import sys

PROBE = """
import json, sys, time
began = time.perf_counter()
import ipykernel.zmqshell
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
has_ipython, known = time.perf_counter(), set(sys.modules)
shell.run_line_magic("load_ext", "ollama_magic")
loaded = time.perf_counter()
late = ["requests", "ipywidgets", "markdown", "nh3", "pygments.lexers", "sqlite3"]
early = [name for name in late if name in set(sys.modules) - known]
print(json.dumps([has_ipython - began, loaded - has_ipython, early]))
"""


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 11
    rows = []
    for _ in range(runs):
        out = subprocess.check_output([sys.executable, "-c", PROBE], text=True)
        rows.append(json.loads(out))
    base_s = statistics.median(row[0] for row in rows)
    load_s = statistics.median(row[1] for row in rows)
    worst_s = max(row[1] for row in rows)
    print(f"IPython and ipykernel       {base_s * 1000:7.0f} ms")
    print(f"%load_ext ollama_magic      {load_s * 1000:7.1f} ms  (goal: 60)")
    print(f"  slowest of {runs}            {worst_s * 1000:7.1f} ms")
    print(f"  ratio                     {load_s / base_s:7.3f}")
    print(f"  imported too early        {rows[0][2] or 'nothing'}")


if __name__ == "__main__":
    main()
