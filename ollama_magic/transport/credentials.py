"""What proves to the server who asks: a token or a password, kept out of sight."""

from __future__ import annotations

import base64
import re

import requests
from requests.auth import AuthBase

from ollama_magic.errors import ConfigError
from ollama_magic.host import Host


class Credentials(AuthBase):
    """What is sent as ``Authorization``, to the one host it belongs to.

    It also stands in the way of ``.netrc``, which requests reads when a request
    has no authentication of its own, and would prefer to a header of ours.

    Raises
    ------
    ConfigError
        The token cannot be a header, or would cross the network unencrypted.
    """

    def __init__(self, host: Host, api_key: str) -> None:
        token = api_key.strip()
        if not re.fullmatch("[!-~]*", token):
            raise ConfigError(
                "The API key cannot be used.",
                why="it holds blanks or characters outside of ASCII",
                next_step="set OLLAMA_API_KEY to the token alone",
            )
        is_open = host.base_url.startswith("http://") and not host.is_loopback
        if is_open and (token or host.user or host.password):
            secret = "password" if host.user or host.password else "API key"
            raise ConfigError(
                f"The {secret} was not sent to {host.base_url}.",
                why="that is another machine, and http:// has no encryption",
                next_step="use https://, or leave it out (OLLAMA_API_KEY, OLLAMA_HOST)",
            )
        self._header = f"Bearer {token}" if token else ""
        if host.user or host.password:
            pair = f"{host.user}:{host.password}".encode()
            self._header = f"Basic {base64.b64encode(pair).decode()}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the header into a request, as requests asks of its authentications."""
        if self._header:
            request.headers["Authorization"] = self._header
        return request

    def __repr__(self) -> str:
        return "Credentials(***)"
