"""The balance of an account and its use of the cloud: facts, a chart and a table."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from ollama_magic.client.ollama_com import Balance, CloudUsage, UsageBucket
from ollama_magic.errors import quoted
from ollama_magic.render.aligned import facts_text
from ollama_magic.render.safe_html import details_html
from ollama_magic.render.tables import (
    Columns,
    Listing,
    age,
    exact,
    facts_html,
    table_html,
)
from ollama_magic.render.text import counted

_RANGES = {"24h": "Last 24 hours", "7d": "Last 7 days", "30d": "Last 30 days"}
_QUOTAS = {"session": "Session", "weekly": "This week"}
_EMPTY = "No requests in this time."
_BAR_WIDTH = 20
_MOST_BUCKETS = 100
_GREY, _BLUE = "#7a7a7a", "#1976d2"  # readable on white and on black
_CHART = (
    '<img alt="use over time, as in the table below" '
    'src="data:image/png;base64,{data}" style="max-width:100%">'
)


class UsageListing(Listing[UsageBucket]):
    """The use of the cloud by hour or day, with the balance of the account."""

    def __init__(self, balance: Balance, usage: CloudUsage, chart: bytes = b"") -> None:
        rows = usage.buckets[-_MOST_BUCKETS:]
        self.balance = balance
        self.totals = usage.totals
        self._facts = [*_balance_facts(balance), _total_fact(usage)]
        columns = _columns(rows)
        shown = [row for row in rows if _amount(row)]
        titles = tuple(columns)[: -1 if chart else None]  # the last one is a bar
        cells = [[columns[title](row) for title in titles] for row in shown]
        page = facts_html(self._facts)
        table = table_html(titles, cells) if cells else ""
        if chart:
            page += _CHART.format(data=b64encode(chart).decode("ascii"))
            table = details_html("In numbers", table)
        super().__init__(shown, columns, _EMPTY, page=page + table)

    def __repr__(self) -> str:
        return f"{facts_text(self._facts)}\n\n{super().__repr__()}"

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> dict[str, Any]:
        return {"text/html": self._page, "text/plain": repr(self)}

    def to_frame(self) -> Any:  # noqa: ANN401  (pandas is not imported here)
        """Return the hours or days as a ``pandas.DataFrame``, with times in UTC."""
        import pandas

        frame = pandas.DataFrame(list(self), columns=list(UsageBucket.__slots__))
        for name in ("starts", "ends"):
            frame[name] = pandas.to_datetime(frame[name], utc=True, errors="coerce")
        return frame


def list_usage(balance: Balance, usage: CloudUsage) -> UsageListing:
    """Return a listing; with a chart, if matplotlib is installed."""
    return UsageListing(balance, usage, _chart(usage))


def _balance_facts(balance: Balance) -> list[tuple[str, str]]:
    facts = []
    if balance.included_usd is not None:
        allowance = balance.allowance_usd
        of = f" of {_dollars(allowance)}" if allowance is not None else ""
        left = f"{_dollars(balance.included_usd)}{of} left"
        facts.append(("Included", left + _until(balance.period_ends)))
    for quota in balance.quotas:
        left = f"{quota.remaining_percent:.0f}% left{_until(quota.resets_at)}"
        facts.append((_QUOTAS[quota.name], left))
    if balance.purchased_usd is not None:
        facts.append(("Purchased", f"{_dollars(balance.purchased_usd)} left"))
    return facts


def _until(timestamp: str) -> str:
    time = exact(timestamp)
    return f", resets {time} ({age(timestamp).text})" if time else ""


def _total_fact(usage: CloudUsage) -> tuple[str, str]:
    totals = usage.totals
    parts = [counted(totals.request_count, "request")]
    if totals.input_tokens or totals.output_tokens:
        parts += [
            f"{totals.input_tokens:,} input tokens "
            f"({totals.cached_input_tokens:,} from the cache)",
            f"{totals.output_tokens:,} output tokens",
        ]
    if totals.usage_usd is not None:
        parts.append(_dollars(totals.usage_usd))
    title = _RANGES.get(usage.range, quoted(usage.range, limit=40))
    return title or "Total", ", ".join(parts)


def _dollars(amount: float) -> str:
    """Return an amount with as many digits as it needs.

    >>> _dollars(72.5), _dollars(0.01718), _dollars(0.0)
    ('$72.50', '$0.0172', '$0.00')
    """
    is_small = 0 < abs(amount) < 0.1
    return f"${amount:,.4f}" if is_small else f"${amount:,.2f}"


def _amount(bucket: UsageBucket) -> float:
    return bucket.usage_usd or bucket.request_count


def _columns(rows: Sequence[UsageBucket]) -> Columns[UsageBucket]:
    """Return the columns that have values; the last one is a bar."""
    most = max(map(_amount, rows), default=0) or 1
    columns: Columns[UsageBucket] = {
        "From": lambda row: exact(row.starts) + " (so far)" * row.is_partial,
        "Requests": lambda row: f"{row.request_count:,}",
    }
    if any(row.input_tokens or row.output_tokens for row in rows):
        columns["Input tokens"] = lambda row: f"{row.input_tokens:,}"
        columns["From cache"] = lambda row: f"{row.cached_input_tokens:,}"
        columns["Output tokens"] = lambda row: f"{row.output_tokens:,}"
    if any(row.usage_usd is not None for row in rows):
        columns["Cost"] = lambda row: _dollars(row.usage_usd or 0.0)
    columns[""] = lambda row: "█" * round(_BAR_WIDTH * max(_amount(row), 0) / most)
    return columns


def _chart(usage: CloudUsage) -> bytes:
    """Return a bar chart as PNG, for light and dark pages; empty without matplotlib."""
    rows = usage.buckets[-_MOST_BUCKETS:]
    if not any(map(_amount, rows)):
        return b""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return b""
    in_dollars = any(row.usage_usd for row in rows)
    heights = [_amount(row) for row in rows]
    figure = Figure(figsize=(6.4, 1.8), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.bar(range(len(rows)), heights, color=_BLUE)
    step = max(1, len(rows) // 6)
    places = range(0, len(rows), step)
    # A date, or a time: 2026-11-23 14:04
    part = slice(11, 16) if usage.granularity == "hour" else slice(5, 10)
    axes.set_xticks([*places], [exact(rows[place].starts)[part] for place in places])
    axes.set_ylabel("US$" if in_dollars else "requests", color=_GREY)
    axes.tick_params(colors=_GREY)
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(_GREY)
    file = BytesIO()
    figure.savefig(file, format="png", transparent=True)
    return file.getvalue()
