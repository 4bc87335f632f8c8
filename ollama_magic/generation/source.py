"""Who gave an answer, asked when it has ended; and answers kept for the same request.

Knows what can be told of a server and of a model in its memory.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from ollama_magic.client import interrupts
from ollama_magic.client.background import in_background
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.models import find_model
from ollama_magic.errors import OllamaMagicError
from ollama_magic.generation.outcome import Outcome
from ollama_magic.generation.prepare import Asking, Question
from ollama_magic.history.cache import CachedReply, request_key
from ollama_magic.render.reply import server_note

_PATIENCE_S = 3.0


@dataclass(frozen=True, slots=True)
class Source:
    """Who gave an answer, as far as it is known."""

    digest: str
    host_kind: str
    """``loopback``, ``remote``, ``embedded`` or ``cloud``."""
    note: str
    """What the footer says of the server; empty for an Ollama on this machine."""
    context_length: int
    """Tokens that the model is loaded with; 0 when nobody says."""


def find_source(asking: Asking, question: Question, outcome: Outcome) -> Source:
    """Return who answered; an answer that was kept tells it by itself."""
    kept = outcome.rounds[0].kept
    if kept is not None:
        length = kept.context_length
        return Source(kept.digest, kept.host_kind, kept.server_note, length)
    model, name = question.model, question.request.model
    cloud = outcome.answer.remote_host or question.cloud_host
    kind = asking.session.host_kind(asking.client)
    return Source(
        digest=model.digest if model else "",
        host_kind="cloud" if cloud else kind,
        note=server_note(kind, asking.client.host.base_url, cloud),
        context_length=0 if outcome.fault else loaded_length(asking.client, name),
    )


def keep_answers(asking: Asking, outcome: Outcome, source: Source) -> None:
    """Keep the answers of all rounds for when the same is asked again."""
    for one in outcome.rounds:
        if one.kept is None:
            answer = CachedReply(
                model=one.request.model,
                digest=source.digest,
                text=one.answer.text,
                thinking=one.answer.thinking,
                thinking_s=one.answer.thinking_s,
                tool_calls=one.answer.tool_calls,
                done_reason=one.answer.done_reason,
                stats=one.answer.stats,
                context_length=source.context_length,
                host_kind=source.host_kind,
                server_note=source.note,
                answered_at=outcome.answered_at,
            )
            asking.session.store.cache_reply(request_key(one.request), answer)


def loaded_length(client: OllamaClient, model: str) -> int:
    """Return the context length that a model is loaded with; 0 when nobody says.

    Asked when an answer is complete, which is kept and shown whatever comes of this: an
    interrupt that is held back stays so, and a server that is slow is not waited for.
    """
    began = time.monotonic()

    def give_up_in_time() -> None:
        if time.monotonic() - began > _PATIENCE_S:
            raise TimeoutError

    try:
        loaded = find_model(model, in_background(client.ps, on_tick=give_up_in_time))
    except (OllamaMagicError, TimeoutError):  # what it is wanted for can do without
        return 0
    except KeyboardInterrupt:
        interrupts.put_back()
        return 0
    return loaded.context_length if loaded else 0
