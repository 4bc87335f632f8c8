"""The cost of ``%load_ext ollama_magic`` and of the first cell.

Each figure comes from a fresh process. The cost of the first cell is the difference to
the second one, in this thread; most of it is imports.
"""

import json
import subprocess
import sys

from benchmarks.server import ROOT, ollama
from benchmarks.table import Row, Scale, interleaved

PROBE = """
import contextlib, io, json, sys, time
began = time.perf_counter()
import ipykernel.zmqshell
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
has_ipython, known = time.perf_counter(), set(sys.modules)
shell.run_line_magic("load_ext", "ollama_magic")
loaded = time.perf_counter()
late = ["requests", "ipywidgets", "markdown", "nh3", "pygments.lexers", "sqlite3"]
early = [name for name in late if name in set(sys.modules) - known]
shell.run_line_magic("config", "OllamaMagics.host = '{url}'")
taken = []
for _ in range(2):
    before = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        shell.run_cell_magic("ollama", "yes:1b --once", "Hello")
    taken.append(time.perf_counter() - before)
print(json.dumps(dict(ipython=has_ipython - began, load=loaded - has_ipython,
                      first=taken[0] - taken[1], early=len(early))))
"""


def probe(url):
    command = [sys.executable, "-c", PROBE.format(url=url)]
    return json.loads(subprocess.check_output(command, cwd=ROOT, text=True))


def rows(scale: Scale):
    with ollama() as url:
        taken = interleaved(scale.runs(11), {"ours": lambda: probe(url)})["ours"]
    ms = {name: [1000 * one for one in runs] for name, runs in taken.items()}
    limit = ms["ipython"]
    yield Row(
        "`%load_ext`, ms (limit: IPython itself)",
        ms["load"],
        "60",
        limit=limit,
        digits=0,
    )
    yield Row("heavy modules that it imports", taken["early"], "0", digits=0)
    yield Row("the first cell over the second, ms", ms["first"], limit=limit, digits=0)
