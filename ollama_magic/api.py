"""The Python functions ask, chat, stream, embed and models, for notebooks and scripts.

They take the options of ``%%ollama`` as parameters, checked by the same table. A prompt
is sent as it is: Python has its own ways to put values into text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ollama_magic.client.background import run_in_background
from ollama_magic.client.models import ModelSummary
from ollama_magic.client.options import check_options
from ollama_magic.client.types import KeepAlive, Options, Think
from ollama_magic.errors import short_interrupts
from ollama_magic.generation.embedding import embed_texts, embedding_model, read_texts
from ollama_magic.generation.front_end import NoDisplay
from ollama_magic.generation.models import ask_for_models, check_cloud, cloud_host
from ollama_magic.generation.options import ChatOptions, check_value
from ollama_magic.generation.prepare import prepare
from ollama_magic.generation.reply import Reply
from ollama_magic.generation.response import Response
from ollama_magic.generation.run import ask as ask_and_keep
from ollama_magic.generation.run import known_model
from ollama_magic.generation.session import current_session
from ollama_magic.generation.settings import merged
from ollama_magic.render.listings import list_models
from ollama_magic.render.tables import Listing

if TYPE_CHECKING:
    from ollama_magic.generation.decisions import Decision

Tool = Callable[..., Any] | str
Tools = Tool | Sequence[Tool]


@short_interrupts()
def ask(
    prompt: str,
    *,
    model: str | None = None,
    system: str | None = None,
    schema: object = None,
    images: object = (),
    files: str | Sequence[str] = (),
    tools: Tools = (),
    yes: bool = False,
    options: Options | None = None,
    format: str | None = None,
    think: Think | None = None,
    keep_alive: KeepAlive | None = None,
    truncate: str | None = None,
    logprobs: bool | int | None = None,
    cached: bool = False,
    host: str | None = None,
) -> Reply:
    """Return the reply to a one-off prompt; no chat is read or written.

    Parameters
    ----------
    prompt
        Sent as it is: ``{{ }}`` is not filled in.
    model
        None: the default model, as in a cell.
    system
        A system message; None: the setting ``system``.
    schema
        The schema of the reply: the short form of ``--schema``, a JSON Schema, or a
        Python type, such as a dataclass, a pydantic model, an enum, ``list[str]`` or
        ``Literal["good", "bad"]``; ``reply.data`` has the value.
    images
        An image or a sound, or a list of them: files, addresses, PIL images, figures,
        arrays of pixels, bytes, ``(samples, rate)``.
    files
        A text file to send before the prompt, or a list of them.
    tools
        A function that the model may call, or a list of them. You are asked before each
        call.
    yes
        Call tools without asking.
    options
        Model options such as ``{"temperature": 0}``.
    format
        How the reply is displayed; ``"json"`` also asks the model for JSON.
    think
        Whether to think first, or a level such as ``"high"``; None: the setting
        ``think``.
    keep_alive
        How long the model stays loaded: a duration (``"10m"``) or seconds; 0 unloads
        it, a negative number keeps it loaded.
    truncate
        What happens to a prompt that does not fit the context: ``"warn"``, or
        ``"error"``, the default with a schema; None: the setting ``truncate``.
    logprobs
        Whether each token of the reply comes with its log probability, or with how many
        alternatives (0 to 20; True: 5): ``reply.logprobs`` and ``reply.confidence``.
    cached
        Reuse the cached reply if this exact request was made before.
    host
        Another server.

    Raises
    ------
    OllamaMagicError
        There is no reply, or only a part of it.

    Examples
    --------
    >>> reply = ask("Why is the sky blue?", model="llama3.2")  # doctest: +SKIP
    >>> print(reply)  # doctest: +SKIP
    """
    return _reply(locals(), once=True)


@short_interrupts()
def chat(
    prompt: str,
    *,
    name: str | None = None,
    new: bool = False,
    last: int | None = None,
    model: str | None = None,
    system: str | None = None,
    schema: object = None,
    images: object = (),
    files: str | Sequence[str] = (),
    tools: Tools = (),
    yes: bool = False,
    options: Options | None = None,
    format: str | None = None,
    think: Think | None = None,
    keep_alive: KeepAlive | None = None,
    truncate: str | None = None,
    logprobs: bool | int | None = None,
    cached: bool = False,
    host: str | None = None,
) -> Reply:
    """Add a turn to this notebook's chat, and return the reply.

    In a notebook the turn belongs to its cell, and is replaced when the cell is run
    again. In a script the chat ends with the process, unless it has a name.

    The other parameters are those of ``ask``.

    Parameters
    ----------
    name
        Another chat, created if it is new.
    new
        Start a new conversation: earlier turns are no longer sent.
    last
        Send only this many of the latest turns.
    system
        A system message from this turn on.

    Raises
    ------
    OllamaMagicError
        There is no reply, or only a part of it, which is kept as a turn.
    """
    given = locals()
    return _reply(given, chat=given.pop("name"))


def _reply(given: dict[str, Any], **more: object) -> Reply:
    """Ask with the parameters of ``ask`` or ``chat``."""
    prompt = given.pop("prompt")
    return ask_and_keep(current_session(), _options(given, **more), prompt, NoDisplay())


def _options(given: Mapping[str, Any], **more: object) -> ChatOptions:
    """Return the parameters of a function as options, checked.

    Raises
    ------
    ConfigError
        A value is invalid.
    """
    given = {
        name: check_value(name, value)
        for name, value in {**given, **more}.items()
        if value is not None
    }
    return ChatOptions(**given, raw=True)


@short_interrupts()
def decide(
    state: Any,  # noqa: ANN401  (a text, or any JSON)
    questions: object,
    *,
    model: str | None = None,
    images: object = (),
    system: str | None = None,
    options: Options | None = None,
    think: Think | None = None,
    keep_alive: KeepAlive | None = None,
    truncate: str | None = None,
    cached: bool = False,
    host: str | None = None,
) -> Decision:
    """Return which of a few answers fits a text, and how likely each one is.

    A model with the capability ``decision`` (Ollama 0.35 and later) tells the
    probabilities. Any other model is asked for JSON, and they are estimated from its
    tokens. No chat is read or written.

    Parameters
    ----------
    state
        The text, or a dict or list.
    questions
        Labels with their descriptions, ``{"bug": "Software errors", "billing": None}``,
        or a list of labels; a text for a question of yes or no; ``Choice``, ``YesNo``
        or ``Score``; or a dict of several of them, by names of your own. Each has from
        2 to 26 answers.
    model
        None: a local model that decides, or else the default model, as in a cell.
    images
        An image, or a list of them, for a model with vision.
    system, options, think, truncate
        As in ``ask``, for a model that chats; with a model that decides, ``system``,
        ``options`` and ``think`` are errors.
    keep_alive, cached, host
        As in ``ask``.

    Raises
    ------
    OllamaMagicError
        A question is invalid, or there is no answer.

    Examples
    --------
    >>> decide("It crashes.", ["bug", "billing"]).choice  # doctest: +SKIP
    'bug'
    """
    given = locals()
    from ollama_magic.generation.decisions import decide as decide_about
    from ollama_magic.generation.questions import read_questions

    state, asked = given.pop("state"), read_questions(given.pop("questions"))
    chat_options = _options(given, choose=asked)
    return decide_about(current_session(), chat_options, state, NoDisplay())


def stream(
    prompt: str,
    *,
    model: str | None = None,
    system: str | None = None,
    images: object = (),
    files: str | Sequence[str] = (),
    options: Options | None = None,
    think: Think | None = None,
    keep_alive: KeepAlive | None = None,
    host: str | None = None,
) -> Iterator[str]:
    """Yield the text of a one-off reply while it streams, without its thinking.

    Leaving the loop, or closing the iterator, ends the request. The parameters are
    those of ``ask``.

    Raises
    ------
    OllamaMagicError
        As in ``ask``; the text yielded before is valid.

    Examples
    --------
    >>> for text in stream("Tell me a story."):  # doctest: +SKIP
    ...     print(text, end="", flush=True)
    """
    given = locals()
    given.pop("prompt")
    session = current_session()
    chat_options = merged(session.settings, _options(given, once=True))
    client, response = session.client(host), Response()
    look_up = partial(ask_for_models, client, chat_options)
    known = partial(known_model, session, client, chat_options)
    with short_interrupts():
        prepared = prepare(session, client, chat_options, prompt, look_up, known=known)
        with client.send(prepared.request) as chunks:
            for chunk in chunks:
                if text := response.read([chunk])[0]:
                    yield text


@short_interrupts()
def embed(
    input: Any,  # noqa: ANN401  (a text, or a list or column of texts)
    *,
    model: str | None = None,
    dimensions: int | None = None,
    truncate: bool | None = None,
    options: Options | None = None,
    keep_alive: KeepAlive | None = None,
    host: str | None = None,
) -> Any:  # noqa: ANN401  (a vector for a text, a list of them for several)
    """Return the vector of a text, or a list of vectors for several texts.

    Many texts are sent in several requests, in order.

    Parameters
    ----------
    input
        A text, or texts: a list, a Series or an array.
    model
        None: the newest local embedding model.
    dimensions
        Length of the vectors, for models that offer a choice.
    truncate
        Cut texts that are longer than the model's context (the server's default);
        False makes them an error.
    options
        Model options, as in ``ask``.
    keep_alive
        How long the model stays loaded, as in ``ask``.
    host
        Another server.

    Raises
    ------
    PromptError
        A text is empty, or not a text; nothing is sent.
    OllamaMagicError
        The model does not support embeddings, a text has no vector, or no server
        responded.
    """
    texts, session = read_texts(input), current_session()
    client = session.client(host)
    given = {
        "dimensions": dimensions,
        "truncate": truncate,
        "options": check_options(options or {}),
        "keep_alive": (
            None if keep_alive is None else check_value("keep_alive", keep_alive)
        ),
    }

    named = None if model is None else check_value("model", model)
    model = named or run_in_background(partial(embedding_model, client))
    check_cloud(session.settings, client, model, cloud_host(model, None))
    vectors = run_in_background(partial(embed_texts, client, model, texts, given))
    return vectors[0] if isinstance(input, str) else vectors


@short_interrupts()
def models(host: str | None = None) -> Listing[ModelSummary]:
    """Return the models of a server: iterate them, or ``pandas.DataFrame(models())``.

    Parameters
    ----------
    host
        Another server, written as in ``OLLAMA_HOST``.

    Raises
    ------
    OllamaMagicError
        The host is invalid, or no Ollama server responds.
    """
    client = current_session().client(host)
    return run_in_background(lambda: list_models(client))
