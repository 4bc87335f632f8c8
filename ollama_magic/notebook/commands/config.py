"""``%ollama config``: the settings, what they are now, and how they are changed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ollama_magic.client.host import without_secret
from ollama_magic.render.tables import Columns, Listing

ENVIRONMENT = {
    "OLLAMA_HOST": "the server, where the setting host is empty",
    "OLLAMA_MODEL": "the model, where nothing else says which",
    "OLLAMA_API_KEY": "sent to the configured host alone; never shown",
}
_HOW = (
    'change one: %config OllamaMagics.model = "llama3.2"\n'
    'for good: c.OllamaMagics.model = "llama3.2" in ipython_config.py'
)


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting, or one variable of the environment."""

    name: str
    value: str
    is_set: bool
    """Whether it differs from its default."""
    meaning: str


_COLUMNS: Columns[SettingRow] = {
    "SETTING": lambda row: row.name,
    "VALUE": lambda row: row.value,
    "": lambda row: "set" if row.is_set else "",
    "MEANING": lambda row: row.meaning,
}


def settings_listing(magics: Any) -> Listing[SettingRow]:  # noqa: ANN401  (traits)
    """Return all settings of the magics, and the environment that counts.

    Parameters
    ----------
    magics
        The ``OllamaMagics``, or anything with configurable traits.
    """
    rows = []
    for name, trait in sorted(magics.traits(config=True).items()):
        value = getattr(magics, name)
        shown = without_secret(value) if name == "host" else repr(value)
        is_set = value != trait.default()
        rows.append(SettingRow(name, shown, is_set, trait.help))
    for name, meaning in ENVIRONMENT.items():
        told = os.environ.get(name, "")
        shown = "(not shown)" if told and name.endswith("KEY") else without_secret(told)
        rows.append(SettingRow(name, shown, bool(told), meaning))
    return Listing(rows, _COLUMNS, "", note=_HOW)
