"""``%ollama signin``, ``signout``, ``whoami`` and ``usage``: the account at ollama.com.

The first three ask the server, which is what is signed in. ``usage`` asks ollama.com
itself, with the user's key.
"""

from __future__ import annotations

import threading
import time
from functools import partial

from ollama_magic.client.background import run_in_background
from ollama_magic.client.client import OllamaClient
from ollama_magic.client.ollama_com import Account
from ollama_magic.errors import ConfigError, ServerError, quoted, usage_error
from ollama_magic.generation.web import ollama_com
from ollama_magic.notebook.commands.declare import Commands, Context, ParsedCommand
from ollama_magic.render.listings import UsageListing, list_usage
from ollama_magic.render.output import ProgressLine
from ollama_magic.render.safe_html import note_html
from ollama_magic.render.sources import link_html
from ollama_magic.render.tables import TextPage, facts_page

COMMANDS = Commands()

_RANGES = ("24h", "7d", "30d")
_PATIENCE_S = 300.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 10.0
_AGAIN = "For a new link: %ollama signin"


@COMMANDS.add("signin", aliases=("login",))
def signin(context: Context, _: ParsedCommand) -> TextPage | str | None:
    """Show the link to sign in, and wait until the server has an account."""
    client = _server(context)
    account, url = run_in_background(partial(_account, client))
    if account is not None:
        return f"Already signed in: {_described(account, client)}"
    if not context.session.cells.is_interactive:
        step = "then run the notebook again; %ollama whoami shows the account"
        title = _title(client)
        page = link_html(title, url) + note_html(step)
        return TextPage(f"{title}: {url}\n{step}", page=page)
    progress = context.progress_line()
    progress.offer(_title(client), url)
    try:
        account = _waited_for(client, progress)
    except BaseException:
        progress.finish(f"Not signed in. {_AGAIN}")
        raise
    if account is None:
        minutes = f"{_PATIENCE_S / 60:.0f} minutes"
        progress.finish(f"Not signed in after {minutes}. {_AGAIN}")
    else:
        progress.finish(f"Signed in: {_described(account, client)}")
    return None


def _server(context: Context) -> OllamaClient:
    client = context.session.client()
    if context.session.host_kind(client) == "embedded":
        raise ConfigError(
            "The embedded engine has no account at ollama.com.",
            why="only Ollama itself can be signed in",
            next_step="install Ollama (https://ollama.com/download), stop the engine "
            "(%ollama serve --stop), then: %ollama serve",
        )
    return client


def _title(client: OllamaClient) -> str:
    title = f"Sign in at ollama.com, for the server {client.host.base_url}"
    others = "" if client.host.is_loopback else ", whose users will use your account"
    return f"{title}{others}"


def _account(client: OllamaClient) -> tuple[Account | None, str]:
    """Return the account of a server; without one, where to sign in.

    Raises
    ------
    ServerError
        The server does not say where, or ollama.com cannot be reached.
    """
    try:
        return client.me(), ""
    except ServerError as error:
        if error.status_code != 401 or not error.signin_url:
            raise
        return None, error.signin_url


def _waited_for(client: OllamaClient, progress: ProgressLine) -> Account | None:
    """Return the account as soon as there is one; None after some minutes."""
    began_s, is_over = time.monotonic(), threading.Event()

    def poll() -> Account | None:
        pause_s = _FIRST_PAUSE_S
        while time.monotonic() - began_s < _PATIENCE_S:
            if is_over.wait(pause_s):
                break
            pause_s = min(1.5 * pause_s, _LONGEST_PAUSE_S)
            try:
                account, _ = _account(client)
            except ServerError as error:
                if error.status_code < 500:
                    raise
                continue  # ollama.com does not answer for now
            if account is not None:
                return account
        return None

    def show() -> None:
        progress.show(f"waiting for you to sign in… {time.monotonic() - began_s:.0f} s")

    try:
        show()
        return run_in_background(poll, on_tick=show)
    finally:
        is_over.set()


def _described(account: Account, client: OllamaClient) -> str:
    name = quoted(account.name, limit=80) or "an account without a name"
    plan = f" (plan: {quoted(account.plan, limit=40)})" if account.plan else ""
    return f"{client.host.base_url} belongs to {name}{plan}"


@COMMANDS.add("signout", aliases=("logout",), discards=True)
def signout(context: Context, _: ParsedCommand) -> str:
    """Sign the server out."""
    client = _server(context)
    try:
        run_in_background(client.signout)
    except ServerError as error:
        if error.status_code != 401 or not error.signin_url:
            raise
        return _signed_out(client)
    return (
        f"Signed out: {client.host.base_url} has no account now.\n"
        "To sign in again: %ollama signin"
    )


@COMMANDS.add("whoami")
def whoami(context: Context, _: ParsedCommand) -> TextPage | str:
    """Return the account that the server is signed in to."""
    client = _server(context)
    account, _url = run_in_background(partial(_account, client))
    if account is None:
        return _signed_out(client)
    facts = [
        ("Account", quoted(account.name, limit=80)),
        ("Plan", quoted(account.plan, limit=40)),
        ("E-mail", _masked(account.email)),
        ("Server", client.host.base_url),
    ]
    return facts_page(facts)


def _signed_out(client: OllamaClient) -> str:
    return (
        f"Not signed in: {client.host.base_url} has no account at ollama.com.\n"
        "To sign in: %ollama signin"
    )


def _masked(email: str) -> str:
    """Return an e-mail address as a notebook may keep it.

    >>> _masked("ann@example.com")
    'a***@example.com'
    """
    name, at, host = quoted(email, limit=120).rpartition("@")
    return f"{name[:1]}***{at}{host}" if at else ""


@COMMANDS.add("usage", operands="[RANGE]")
def usage(context: Context, line: ParsedCommand) -> UsageListing:
    """Return what is left of the account, and what was used."""
    range = line.arguments[0] if line.arguments else _RANGES[1]
    if range not in _RANGES:
        raise usage_error(
            f"%ollama usage has no range {range!r}.",
            why=f"it is one of {', '.join(_RANGES)}",
            next_step=f"%ollama usage {_RANGES[1]}",
        )
    site = ollama_com(context.session, "%ollama usage")
    balance, used = run_in_background(lambda: (site.balance(), site.usage(range)))
    return list_usage(balance, used)
