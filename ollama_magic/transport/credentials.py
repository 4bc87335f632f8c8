"""What proves to the server who asks: a token or a password, kept out of sight."""

from __future__ import annotations

import base64
import re
from urllib.parse import quote

import requests
from requests.auth import AuthBase

from ollama_magic.errors import ConfigError
from ollama_magic.host import Host

_SHORTEST = 4
"""Characters; what is shorter stands in many words by chance."""


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
        pair = base64.b64encode(f"{host.user}:{host.password}".encode()).decode()
        self._header = f"Bearer {token}" if token else ""
        if host.user or host.password:
            self._header = f"Basic {pair}"
        self._secrets = [
            form.encode()
            for secret in (token, host.password, pair)
            if len(secret) >= _SHORTEST
            for form in dict.fromkeys([secret, quote(secret), quote(secret, safe="")])
        ]

    @property
    def headers(self) -> dict[str, str]:
        """What goes with a request."""
        return {"Authorization": self._header} if self._header else {}

    def hide(self, said: bytes) -> bytes:
        """Return what a server said without our secrets: some give headers back."""
        for secret in self._secrets:
            said = said.replace(secret, b"***")
        return said

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the header into a request, as requests asks of its authentications."""
        request.headers.update(self.headers)
        return request

    def __repr__(self) -> str:
        return "Credentials(***)"
