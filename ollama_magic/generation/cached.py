"""Cached replies: finds them, and says what is missing without them.

A cached reply stands in for a server that cannot be reached, also for its list of
models.
"""

from __future__ import annotations

from dataclasses import replace

from ollama_magic.client.decisions import AnyRequest
from ollama_magic.client.models import has_tag
from ollama_magic.client.types import Request
from ollama_magic.errors import ServerUnreachableError
from ollama_magic.generation.models import ServerModels
from ollama_magic.generation.options import ChatOptions
from ollama_magic.generation.session import Session
from ollama_magic.history.cache import CachedReply, not_cached_error, request_key


def cached_reply(
    session: Session, options: ChatOptions, request: AnyRequest, digest: str = ""
) -> CachedReply | None:
    """Return the cached reply to a request, if the options ask for the cache.

    Parameters
    ----------
    digest
        Only a reply of the model with this digest; empty: of any model.
    """
    if not options.cached:
        return None
    return session.store.find_cached_reply(request_key(request), request.model, digest)


def explained(
    session: Session,
    options: ChatOptions,
    request: AnyRequest,
    fault: BaseException | None,
) -> BaseException | None:
    """Return the fault, with a note if a cached reply was wanted and is missing."""
    if not (options.cached and isinstance(fault, ServerUnreachableError)):
        return fault
    asked = str(request.as_messages()[-1].get("content", ""))
    store = session.store
    file = store.path.name if store.path else "memory"
    return not_cached_error(fault, file, asked, store.nearest_prompt(asked))


def named_by_cache(
    session: Session, options: ChatOptions, request: Request, models: ServerModels
) -> Request:
    """Return the request with its model's full name, if only the cache knows it.

    Raises
    ------
    OllamaMagicError
        No model is named and no reply is cached: why the server could not list its
        models.
    """
    if models.fault is None or (request.model and has_tag(request.model)):
        return request
    cached = cached_reply(session, options, request)
    if cached is not None:
        return replace(request, model=cached.model)
    if request.model:
        return request
    fault = explained(session, options, request, models.fault)
    assert fault is not None
    raise fault
