"""``%ollama stats``: turns, tokens, time and speed by model and by day."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ollama_magic.generation.options import Option, switch
from ollama_magic.history.usage import Usage, read_usage, start_of_days, summed
from ollama_magic.notebook.commands.declare import Commands, Context, ParsedCommand
from ollama_magic.render.tables import Columns, Listing

COMMANDS = Commands()

_DAYS_SHOWN = 31
_BAR_WIDTH = 12
_NOT_COUNTED = "Not counted: cached replies, turns from files, --once, comparisons"


def _read_days(text: str) -> int:
    """Return a whole number of days, at least 1."""
    if not re.fullmatch(r"[1-9]\d{0,3}", text, re.A):
        raise ValueError("it must be a whole number of days, 1 to 9999")
    return int(text)


def _speed(tokens_per_s: float) -> str:
    if not tokens_per_s:
        return ""
    return f"{tokens_per_s:.2g}" if tokens_per_s < 10 else f"{tokens_per_s:,.0f}"


def _time(seconds: float) -> str:
    """Return a duration in one unit, which needs little room.

    >>> _time(0.4), _time(45.2), _time(725), _time(12100)
    ('<1 s', '45 s', '12 min', '3.4 h')
    """
    if seconds >= 90 * 60:
        return f"{seconds / 3600:,.1f} h"
    if seconds >= 90:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s" if seconds >= 1 else "<1 s" if seconds else ""


_BY_MODEL: Columns[Usage] = {
    "Model": lambda u: u.model,
    "Turns": lambda u: f"{u.turns:,}",
    "Prompt": lambda u: f"{u.prompt_tokens:,}",
    "Cached": lambda u: f"{u.cached_share:.0%}" if u.cached_tokens else "",
    "Reading": lambda u: _speed(u.reading_speed),
    "Reply": lambda u: f"{u.reply_tokens:,}",
    "Writing": lambda u: _speed(u.writing_speed),
    "Time": lambda u: _time(u.total_s),
}


def _by_day(most: int) -> Columns[Usage]:
    """Return the columns of the table by day.

    Parameters
    ----------
    most
        The tokens of the longest bar.
    """

    def bar(usage: Usage) -> str:
        width = usage.tokens / most * _BAR_WIDTH if most else 0.0
        return "━" * max(round(width), bool(usage.tokens))

    return {
        "Day": lambda u: u.day,
        "Turns": lambda u: f"{u.turns:,}",
        "Prompt": lambda u: f"{u.prompt_tokens:,}",
        "Reply": lambda u: f"{u.reply_tokens:,}",
        "Time": lambda u: _time(u.total_s),
        "Tokens": bar,
    }


class UsageStats(Listing[Usage]):
    """The usage of each day and model; shows itself as two tables.

    Parameters
    ----------
    usages
        Oldest first.
    empty
        Shown if there are none.
    note
        What was counted.
    """

    def __init__(self, usages: Sequence[Usage], empty: str, note: str) -> None:
        models = summed(usages, by=lambda one: ("", one.model))
        days = summed(usages, by=lambda one: (one.day, ""))[-_DAYS_SHOWN:]
        models.sort(key=lambda one: one.tokens, reverse=True)
        by_day = _by_day(max((one.tokens for one in days), default=0))
        self._parts = Listing(models, _BY_MODEL, ""), Listing(days, by_day, "")
        bundles = [part._repr_mimebundle_() for part in self._parts]
        page = "".join(bundle.get("text/html", "") for bundle in bundles)
        super().__init__(usages, _BY_MODEL, empty, note=note, page=page)

    def __repr__(self) -> str:
        if not self:
            return super().__repr__()
        return "\n\n".join([*map(repr, self._parts), self._note])

    def to_frame(self) -> Any:  # noqa: ANN401  (pandas is not imported here)
        """Return a ``pandas.DataFrame`` with a row for each day and model.

        Its columns are day, model, turns, prompt tokens, cached tokens, reply tokens,
        read tokens/s (without cached tokens), written tokens/s, load seconds and
        seconds.

        Raises
        ------
        ImportError
            pandas is not installed.
        """
        import pandas

        return pandas.DataFrame(
            {
                "day": pandas.Timestamp(one.day),
                "model": one.model,
                "turns": one.turns,
                "prompt tokens": one.prompt_tokens,
                "cached tokens": one.cached_tokens,
                "reply tokens": one.reply_tokens,
                "read tokens/s": one.reading_speed,
                "written tokens/s": one.writing_speed,
                "load seconds": one.loading_s,
                "seconds": one.total_s,
            }
            for one in self
        )

    def plot(self) -> Any:  # noqa: ANN401  (matplotlib is not imported here)
        """Return a ``matplotlib`` figure: tokens by day, stacked by model.

        Raises
        ------
        ImportError
            matplotlib is not installed.
        """
        from matplotlib import pyplot  # it also makes figures show themselves

        days = list(dict.fromkeys(one.day for one in self))
        figure, axes = pyplot.subplots(figsize=(8, 3), layout="constrained")
        pyplot.close(figure)  # else it would be shown twice
        heights = dict.fromkeys(days, 0)
        for model in dict.fromkeys(one.model for one in self):
            tokens = {one.day: one.tokens for one in self if one.model == model}
            bottoms = [heights[day] for day in tokens]
            axes.bar([*tokens], [*tokens.values()], bottom=bottoms, label=model)
            heights.update({day: heights[day] + tokens[day] for day in tokens})
        axes.set_ylabel("tokens")
        axes.tick_params(axis="x", rotation=45 if len(days) > 6 else 0)
        axes.yaxis.set_major_formatter("{x:,.0f}")
        figure.legend(loc="outside upper left", ncols=3, frameon=False)
        return figure


@COMMANDS.add(
    "stats",
    options=(
        Option(
            "days",
            ("--days",),
            "N",
            read=_read_days,
            example="7",
            takes_numbers=True,
        ),
        switch("all", "--all"),
    ),
)
def stats(context: Context, line: ParsedCommand) -> UsageStats:
    """Return how much each model was used, and how fast it was."""
    session, everywhere = context.session, "all" in line.values
    days = line.values.get("days", 0)
    usages = session.store.query(
        read_usage,
        None if everywhere else session.notebook.key,
        start_of_days(days) if days else "",
    )
    where = "all notebooks, with map_prompts" if everywhere else "this notebook"
    when = f", last {days} days" if days > 1 else ", today" if days else ""
    notes = [
        f"{where}{when} · prompts and replies in tokens".capitalize(),
        "Reading and writing: tokens per second; reading without cached tokens",
    ]
    if not everywhere:
        notes.append("All notebooks, and map_prompts: %ollama stats --all")
    known = len({one.day for one in usages})
    if known > _DAYS_SHOWN:
        notes.append(f"Last {_DAYS_SHOWN} of {known:,} days; the plot has all")
    notes.append(_NOT_COUNTED)
    return UsageStats(usages, f"No replies yet in {where}{when}.", "\n".join(notes))
