"""The package can be installed beside the packages that its users have.

pip resolves one environment with all of them, and installs nothing. This takes a
minute or two and asks the package index, so it runs only if ``BESIDE_OTHERS`` is set::

    BESIDE_OTHERS=1 python -m pytest -n0 tests/test_beside_others.py
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OTHERS = ["jupyter-ai", "llm", "marimo", "ollama", "papermill", "voila"]
SECONDS = 900

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(SECONDS),
    pytest.mark.skipif(
        not os.environ.get("BESIDE_OTHERS"), reason="BESIDE_OTHERS is not set"
    ),
]


def test_pip_finds_versions_that_fit_together(tmp_path):
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet"]
    command += ["--ignore-installed", "--report", str(report), str(ROOT), *OTHERS]
    subprocess.run(command, check=True, timeout=SECONDS)
    found = {
        item["metadata"]["name"].lower().replace("_", "-"): item["metadata"]["version"]
        for item in json.loads(report.read_text())["install"]
    }
    print({name: found.get(name) for name in ("ollama-magic", *OTHERS)})
    assert {"ollama-magic", *OTHERS} <= set(found)
    assert major(found["jupyter-ai"]) >= 3, "an old release was taken to make it fit"
    assert major(found["ipywidgets"]) >= 8
    assert major(found["ipython"]) >= 9


def major(version):
    return int(version.partition(".")[0])
