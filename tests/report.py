"""Keeps what failed, also what passed when it ran again, for the end of ``.ci/run``."""

import sys
from pathlib import Path

import pytest

MAX_LINES = 25


class Report:
    """A plugin that appends each failure, with its whole assertion, to a file."""

    def __init__(self, path):
        self.path = path

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report):
        if report.outcome in {"failed", "rerun"}:
            self._add("failed" if report.failed else "failed once", report)

    def pytest_collectreport(self, report):
        if report.failed:
            self._add("not collected", report)

    def _add(self, title, report):
        crash = getattr(report.longrepr, "reprcrash", None)
        text = crash.message if crash else report.longreprtext
        lines = text.strip().splitlines()
        if len(lines) > MAX_LINES:
            lines[MAX_LINES:] = [f"... and {len(lines) - MAX_LINES} lines, see above"]
        with self.path.open("a", encoding="utf-8") as file:
            title = f"{title} in {Path(sys.prefix).name}: {report.nodeid}"
            print(title, *lines, sep="\n    ", file=file)
