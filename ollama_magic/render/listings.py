"""What servers list: models, their details and updates, and the use of the account.

Each row and each page also holds the values that the server sent. The use of the
account is facts, a chart and a table.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from ollama_magic.client import registry
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.json_values import JsonObject, json_text
from ollama_magic.client.models import (
    CLOUD_HOST,
    LoadedModel,
    ModelDetails,
    ModelSummary,
    is_cloud_name,
)
from ollama_magic.client.ollama_com import Balance, CloudUsage, UsageBucket
from ollama_magic.client.registry import ModelUpdate
from ollama_magic.errors import quoted, size_text
from ollama_magic.render.aligned import facts_text
from ollama_magic.render.safe_html import details_html
from ollama_magic.render.tables import (
    Columns,
    Listing,
    TextPage,
    age,
    exact,
    facts_html,
    pre_html,
    table_html,
)
from ollama_magic.render.text import counted

_NO_MODELS = "No models yet. Try: %ollama pull smollm2:135m"

_CLOUD = "cloud"
"""Shown in place of the size and the processor of a cloud model."""

MODEL_COLUMNS: Columns[ModelSummary] = {
    "Name": lambda m: m.name,
    "Size": lambda m: _CLOUD if m.cloud_host else size_text(m.size_bytes),
    "Model": lambda m: _joined(m.parameter_size, m.quantization_level),
    "Context": lambda m: f"{m.context_length:,}" if m.context_length else "",
    # Nearly all models have "completion".
    "Capabilities": lambda m: ", ".join(c for c in m.capabilities if c != "completion"),
    "Modified": lambda m: age(m.modified_at),
}


def _joined(*facts: str) -> str:
    return " · ".join(filter(None, facts))


def processor(model: LoadedModel) -> str:
    """Return where a model is loaded, in the words of ``ollama ps``."""
    if is_cloud_name(model.name):
        return _CLOUD
    share = model.size_vram_bytes / model.size_bytes if model.size_bytes else 0.0
    if share >= 1:
        return "100% GPU"
    return "100% CPU" if not share else f"{1 - share:.0%}/{share:.0%} CPU/GPU"


LOADED_COLUMNS: Columns[LoadedModel] = {
    "Name": lambda m: m.name,
    "Size": lambda m: _CLOUD if is_cloud_name(m.name) else size_text(m.size_bytes),
    "Processor": processor,
    "Context": lambda m: f"{m.context_length:,}",
    "Unloads": lambda m: age(m.expires_at),
}


def list_models(client: OllamaClient, wanted: str = "") -> Listing[ModelSummary]:
    """Return the models on the server whose name contains ``wanted``, newest first."""
    models = [m for m in client.list() if wanted.lower() in m.name.lower()]
    return Listing(models, MODEL_COLUMNS, _empty(wanted))


def _empty(wanted: str) -> str:
    return f"No model name contains {wanted!r}." if wanted else _NO_MODELS


def loaded_models(client: OllamaClient) -> Listing[LoadedModel]:
    """Return the loaded models."""
    empty = "No model is loaded. The first prompt loads one."
    return Listing(client.ps(), LOADED_COLUMNS, empty)


# -- updates -------------------------------------------------------------------

_STATES = {
    "outdated": "newer version available",
    "unknown": "not checked",
    "elsewhere": "not checked",
    "local": "only on this server",
    "cloud": "cloud model",
    "current": "up to date",
}
"""In the order in which they are listed."""


def _state_text(update: ModelUpdate) -> str:
    return ": ".join(filter(None, [_STATES[update.state], update.why]))


UPDATE_COLUMNS: Columns[ModelUpdate] = {
    "Model": lambda u: u.name,
    "State": _state_text,
    "Installed": lambda u: age(u.installed_at),
    "In the registry": lambda u: age(u.pushed_at),
    "Size": lambda u: size_text(u.size_bytes) if u.size_bytes else "",
}


def list_updates(
    updates: Sequence[ModelUpdate], wanted: str = ""
) -> Listing[ModelUpdate]:
    """Return which models have a newer version, these first, and what was asked."""
    order = list(_STATES)
    rows = sorted(updates, key=lambda one: order.index(one.state))
    outdated = [one.name for one in rows if one.state == "outdated"]
    asked = sum(one.is_asked for one in rows)
    notes = []
    if outdated:
        notes.append(f"to update: %ollama pull {' '.join(outdated)}")
    if any(one.state == "elsewhere" for one in rows):
        notes.append("models from other registries: %ollama pull NAME checks them")
    notes.append(
        f"contacted: {registry.REGISTRY}, with the names of {counted(asked, 'model')}"
        if asked
        else "nothing was contacted but the server"
    )
    return Listing(rows, UPDATE_COLUMNS, _empty(wanted), note="\n".join(notes))


def pull_plan(updates: Sequence[ModelUpdate]) -> str:
    """Return on one line what ``pull --all`` pulls, and what it leaves out."""
    by_text: dict[str, list[str]] = {}
    for one in updates:
        is_pulled = one.state in {"outdated", "elsewhere"}
        text = "pulling" if is_pulled else _state_text(one)
        by_text.setdefault(text, []).append(one.name)
    pulled = by_text.pop("pulling", [])
    first = f"pulling {counted(len(pulled), 'model')}" if pulled else "nothing to pull"
    rest = [f"{text}: {', '.join(names)}" for text, names in by_text.items()]
    named = f": {', '.join(pulled)}" if pulled else ""
    return " · ".join([f"{first}{named}", *rest])


@dataclass(frozen=True, slots=True, repr=False)
class ModelPage(TextPage):
    """The details of a model, as text and as values."""

    details: ModelDetails = field(default_factory=ModelDetails)


def show_model(
    client: OllamaClient, model: str, part: str = "", *, verbose: bool = False
) -> ModelPage:
    """Return the details of a model, or one part of them."""
    details = client.show(model, verbose=verbose)
    if part:
        text = getattr(details, part) or f"{model} has no {part}."
        is_long = text.strip().count("\n") >= _LINES_SHOWN
        page = _fold(part.capitalize(), text.strip("\n")) if is_long else ""
        return ModelPage(text, page=page, details=details)
    text = overview(model, details, verbose=verbose)
    page = _page(model, details, verbose=verbose)
    return ModelPage(text, page=page, details=details)


_LINES_SHOWN = 40
"""A longer part of a model, such as a licence, is folded."""


def _cloud_text(model: str, details: ModelDetails) -> str:
    """Return the host of a cloud model and its name there; else an empty text."""
    if not (details.remote_host or details.remote_model or is_cloud_name(model)):
        return ""
    place = f"answered at {details.remote_host or CLOUD_HOST}"
    return " as ".join(filter(None, [place, details.remote_model]))


_MAX_VALUE = 100
"""Characters of a value of the metadata; some have 100,000 items."""


def _facts(model: str, details: ModelDetails) -> list[tuple[str, str]]:
    lengths = (details.context_length, details.embedding_length)
    context, embedding = (f"{length:,}" if length else "" for length in lengths)
    facts = {
        "Model": model,
        "Cloud model": _cloud_text(model, details),
        "Architecture": details.family,
        "Parameters": details.parameter_size,
        "Quantization": details.quantization_level,
        "Context length": context,
        "Embedding length": embedding,
        "Capabilities": ", ".join(details.capabilities),
        "Thinking": _thinking_text(details),
        "Renderer": details.renderer,
        "Parser": details.parser,
        "Template from": details.template_source,
        "Needs Ollama": details.requires,
        "Modified": exact(details.modified_at),
        "License": details.license.strip().partition("\n")[0],
    }
    return [(name, value) for name, value in facts.items() if value]


def _parts(details: ModelDetails, *, verbose: bool) -> list[tuple[str, str]]:
    """Return the headings and texts of the longer parts."""
    messages = [f"{one.get('role')}: {one.get('content')}" for one in details.messages]
    texts = {
        "Default options": details.parameters,
        "System message": details.system,
        "Messages": "\n".join(messages),
    }
    if verbose:
        tensors = [map(str, tensor.values()) for tensor in details.tensors]
        texts |= {
            "Metadata": _rows(details.model_info),
            "Metadata of the image encoder": _rows(details.projector_info),
            "Tensors": "\n".join(map("  ".join, tensors)),
        }
    return [(name, text.strip("\n")) for name, text in texts.items() if text.strip()]


def overview(model: str, details: ModelDetails, *, verbose: bool = False) -> str:
    """Return the most important details of a model, one per line; or all of them."""
    lines = [facts_text(_facts(model, details))]
    for heading, text in _parts(details, verbose=verbose):
        lines += ["", heading, *(f"  {line}" for line in text.split("\n"))]
    return "\n".join(lines)


def _page(model: str, details: ModelDetails, *, verbose: bool) -> str:
    """Return the same as HTML, with the longer parts folded, and more of them."""
    rest = [("Template", details.template), ("License", details.license)]
    parts = [*_parts(details, verbose=verbose), *rest]
    folds = [
        _fold(heading, text.strip("\n")) for heading, text in parts if text.strip()
    ]
    return "".join([facts_html(_facts(model, details)), *folds])


def _fold(heading: str, text: str) -> str:
    lines = counted(text.count("\n") + 1, "line")
    return details_html(f"{heading} ({lines})", pre_html(text))


def _thinking_text(details: ModelDetails) -> str:
    default = details.thinking_default
    return ", ".join(
        f"{value}{' (default)' * (value == default)}".lower()
        for value in details.thinking_values
    )


def _rows(values: JsonObject) -> str:
    rows = ((key, json_text(value)) for key, value in values.items())
    return "\n".join(
        f"{key}  {text if len(text) <= _MAX_VALUE else f'{text[:_MAX_VALUE]}…'}"
        for key, text in rows
    )


# -- the account ---------------------------------------------------------------

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
