"""The one quiet line under an answer: who answered, which turn, at what cost.

Pure: facts in, short texts out. What is worth a person's attention is decided here
and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from ollama_magic.client.types import Stats

_LOAD_WORTH_TELLING_S = 1.0
_REASONS = {
    "length": "stopped at a length limit",
    "load": "loaded",
    "unload": "unloaded",
}


@dataclass(frozen=True, slots=True)
class FooterFacts:
    """What the footer may speak of."""

    model: str
    place: str
    """Which turn of which chat, or that it was a one-off."""
    stats: Stats
    done_reason: str = ""
    context_length: int = 0
    """Tokens that the model was loaded with; 0 when the server does not say."""
    server_note: str = ""
    """Set when the answer did not come from an Ollama on this machine."""
    filled: tuple[str, ...] = ()
    """Placeholders of the prompt that were filled in."""
    notes: tuple[str, ...] = ()
    """What else happened on the way to the answer."""

    @property
    def context_share(self) -> float | None:
        """Share of the context that this turn used, or None when unknown."""
        used = self.stats.prompt_eval_count + self.stats.eval_count
        return used / self.context_length if self.context_length and used else None


def server_note(kind: str, base_url: str, remote_host: str = "") -> str:
    """Return where a prompt went; empty for an Ollama on this machine.

    Parameters
    ----------
    kind
        ``embedded``, ``loopback`` or ``remote``.
    remote_host
        Where a cloud model really answers.
    """
    if remote_host:
        return f"cloud model, answered at {remote_host}"
    if kind == "embedded":
        return "embedded engine, a tiny model for trying out"
    return "" if kind == "loopback" else f"answered at {base_url}"


def footer_parts(facts: FooterFacts) -> tuple[str, ...]:
    """Return the parts of the footer, in the order in which they are read."""
    stats = facts.stats
    share = facts.context_share
    parts = [facts.model, facts.place]
    if stats.eval_count:
        parts.append(f"{stats.eval_count:,} tokens")
    if stats.tokens_per_second:
        parts.append(f"{stats.tokens_per_second:.3g} tokens/s")
    if stats.load_duration_s > _LOAD_WORTH_TELLING_S:
        parts.append(f"loaded in {stats.load_duration_s:.1f} s")
    if share is not None:
        parts.append(f"context {share:.0%} of {facts.context_length:,}")
    if facts.done_reason not in {"", "stop"}:
        parts.append(_REASONS.get(facts.done_reason, facts.done_reason))
    if facts.filled:
        parts.append("filled in: " + ", ".join(facts.filled))
    parts += facts.notes
    if facts.server_note:
        parts.append(facts.server_note)
    return tuple(part for part in parts if part)
