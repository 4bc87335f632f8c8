"""Serve until standard input ends, or pull one model.

Run as ``python -m ollama_magic.server.embedded``. Without a command it serves, and
prints one line of JSON with ``base_url``, ``token`` and ``pid``; everything else goes
to standard error. ``pull NAME`` adds a model to the store, for the build of an image.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import os
import secrets
import signal
import sys
import threading
from pathlib import Path

import platformdirs

from ollama_magic.server.embedded import watchdog
from ollama_magic.server.embedded.api import EmbeddedApi
from ollama_magic.server.embedded.http import EmbeddedHTTPServer
from ollama_magic.server.embedded.new_models import PULLABLE, Puller
from ollama_magic.server.embedded.protocol import ApiError, ModelName
from ollama_magic.server.embedded.store import ModelStore

_STORE_VARIABLE = "OLLAMA_MAGIC_EMBEDDED_MODELS"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    store = ModelStore(options.store.expanduser().absolute())
    if options.command == "pull":
        return _pull(store, options.name)
    _serve(store, options.port)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ollama_magic.server.embedded", description=__doc__
    )
    parser.add_argument(
        "--store", type=Path, default=_default_store(), help="directory of the models"
    )
    parser.add_argument(
        "--port", type=int, default=0, help="0 (default) picks a free port"
    )
    commands = parser.add_subparsers(dest="command")
    pull = commands.add_parser("pull", help="add a model to the store")
    pull.add_argument("name", nargs="?", default=PULLABLE)
    return parser


def _default_store() -> Path:
    given = os.environ.get(_STORE_VARIABLE)
    return Path(given or Path(platformdirs.user_data_dir("ollama_magic"), "embedded"))


def _serve(store: ModelStore, port: int) -> None:
    faulthandler.enable()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    # The stop button of a notebook is not meant for the server; see ``watchdog``.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    token = secrets.token_urlsafe(32)
    server = EmbeddedHTTPServer(port, token, EmbeddedApi(store).routes())
    # An orderly exit would wait for a running request.
    watchdog.watch(lambda: os._exit(0))
    threading.Thread(target=store.tidy, daemon=True).start()
    base_url = f"http://127.0.0.1:{server.server_address[1]}"
    handshake = {"base_url": base_url, "token": token, "pid": os.getpid()}
    print(json.dumps(handshake), flush=True)  # noqa: T201  (the parent reads it)
    # Nobody reads the pipe any more; prints of libraries must not fill it.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    server.serve_forever()


def _pull(store: ModelStore, text: str) -> int:
    name = ModelName.parse(text)
    if name is None:
        print("invalid model name", file=sys.stderr)  # noqa: T201  (a command)
        return 2
    last_status = ""

    def on_status(line: dict[str, object]) -> None:
        nonlocal last_status
        if line["status"] != last_status:
            last_status = str(line["status"])
            print(last_status, flush=True)  # noqa: T201

    try:
        Puller(store).pull(name, on_status)
    except ApiError as error:
        print(error.text, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
