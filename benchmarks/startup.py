"""The cost of ``%load_ext ollama_magic`` and of the first cell.

Each figure comes from a fresh process. The cost of the first cell is the difference to
the second one, in this thread; most of it is imports. The first text is seen by a front
end of a kernel, whose server answers at once: some time after ``%load_ext``, or in Run
All, from the beginning of ``%load_ext`` on.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

from jupyter_client.manager import start_new_kernel

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

LOAD = "%load_ext ollama_magic"
DO_NOT_PRELOAD = 'get_ipython().meta["ollama_magic"].preload.unregister()'


def probe(url):
    command = [sys.executable, "-c", PROBE.format(url=url)]
    return json.loads(subprocess.check_output(command, cwd=ROOT, text=True))


def first_text(url, home, wait_s, load):
    """Return how many ms the first text of a new kernel takes."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    known = {"OLLAMA_HOST": url, "PYTHONPATH": path, "XDG_DATA_HOME": home}
    manager, client = start_new_kernel(env={**os.environ, **known})
    try:
        began_s = time.perf_counter()
        client.execute(load)
        if wait_s:
            time.sleep(wait_s)
            began_s = time.perf_counter()
        client.execute("%%ollama yes:1b\nHi")
        while "Yes." not in str(client.get_iopub_msg(timeout=60)["content"]):
            pass
        return {"ms": 1000 * (time.perf_counter() - began_s)}
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def first_texts(scale, url):
    loads = {"ours": LOAD, "naive": f"{LOAD}\n{DO_NOT_PRELOAD}"}
    for wait_s, what, target in (
        (2, "first text of a notebook, 2 s after `%load_ext`, ms", "100"),
        (0, "`%load_ext` and first text in Run All, ms", ""),
    ):
        with tempfile.TemporaryDirectory() as home:
            ways = {
                name: lambda w=wait_s, load=load: first_text(url, home, w, load)
                for name, load in loads.items()
            }
            taken = interleaved(scale.runs(7), ways)
        ours, naive = (taken[name]["ms"] for name in loads)
        yield Row(f"{what} (naive: no preload)", ours, target, naive, digits=0)


def rows(scale: Scale):
    with ollama() as url:
        taken = interleaved(scale.runs(11), {"ours": lambda: probe(url)})["ours"]
        more = list(first_texts(scale, url))
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
    yield from more
