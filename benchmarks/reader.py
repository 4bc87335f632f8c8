"""The cost of reading a stream, compared with ``requests`` alone on the same bytes.

40,000 chunks of a chat, and one line of 10 MB; CPU seconds of this process.
"""

import json
import time

import requests

from benchmarks.server import ollama
from benchmarks.table import Row, Scale, interleaved
from ollama_magic.client.client import OllamaClient


def ours(url, model):
    for _ in OllamaClient(url).chat(model, []):
        pass


def bare(url, model):
    asked = {"model": model, "messages": []}
    with requests.post(f"{url}/api/chat", json=asked, stream=True) as response:
        for line in response.iter_lines(chunk_size=None):
            json.loads(line)


def cpu_s(read, url, model):
    began = time.process_time()
    read(url, model)
    return {"cpu": time.process_time() - began}


def rows(scale: Scale):
    with ollama() as url:
        ours(url, "yes:1b")  # imports
        taken = interleaved(
            scale.runs(5),
            {
                "ours": lambda: cpu_s(ours, url, "many:1b"),
                "bare": lambda: cpu_s(bare, url, "many:1b"),
                "big": lambda: cpu_s(ours, url, "big:1b"),
            },
        )
    read, limit = taken["ours"]["cpu"], taken["bare"]["cpu"]
    yield Row(
        "read 40,000 chunks, CPU s (limit: bare `requests`)", read, "2 x", limit=limit
    )
    yield Row("read one line of 10 MB, CPU s", taken["big"]["cpu"], "1")
