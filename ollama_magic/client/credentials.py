"""What proves to the server who asks: a token or a password, kept out of sight."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

import requests
from requests.auth import AuthBase

from ollama_magic.client.host import Host, is_same_place
from ollama_magic.client.redaction import Redactor
from ollama_magic.errors import ConfigError


class Credentials(AuthBase):
    """What is sent as ``Authorization``, to the one host it belongs to.

    It also stands in the way of ``.netrc``, which requests reads when a request
    has no authentication of its own, and would prefer to a header of ours.

    Parameters
    ----------
    api_key
        Bearer token; user and password of the host go before it.
    is_from_environment
        Whether the key comes from ``OLLAMA_API_KEY``. It may be meant for another
        server then, so it is withheld where it would cross the network unencrypted.
    insecure_hosts
        ``HOST:PORT`` of the machines that may get secrets unencrypted.

    Raises
    ------
    ConfigError
        The token cannot be a header, or would cross the network unencrypted.
    """

    holds_secrets: ClassVar[bool] = True
    """A prompt does not look into it."""

    def __init__(
        self,
        host: Host,
        api_key: str,
        *,
        is_from_environment: bool = False,
        insecure_hosts: Sequence[str] = (),
    ) -> None:
        token = api_key.strip()
        if not re.fullmatch("[!-~]*", token):
            raise ConfigError(
                "The API key cannot be used.",
                why="it holds blanks or characters outside of ASCII",
                next_step="set OLLAMA_API_KEY to the token alone",
            )
        self.redactor = Redactor([token, *host.secrets])
        """Hides the token and the password, also a token that is withheld."""
        self.withheld_key: ConfigError | None = None
        """Why the key of the environment is not sent; None: it is, or there is none."""
        basic = host.basic_credentials
        self._header = f"Basic {basic}" if basic else f"Bearer {token}" if token else ""
        if self._header and not _is_allowed(host, insecure_hosts):
            error = _unencrypted(host, "password" if basic else "API key")
            if basic or not is_from_environment:
                raise error
            self.withheld_key, self._header = error, ""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the header into a request, as requests asks of its authentications."""
        if self._header:
            request.headers["Authorization"] = self._header
        return request

    def __repr__(self) -> str:
        return "Credentials(***)"


def _is_allowed(host: Host, insecure_hosts: Sequence[str]) -> bool:
    """Return whether a secret may be sent there."""
    is_encrypted = host.base_url.startswith("https://")
    return (
        is_encrypted
        or host.is_loopback
        or any(is_same_place(named, host) for named in insecure_hosts)
    )


def _unencrypted(host: Host, secret: str) -> ConfigError:
    name = host.name if is_same_place(host.name, host) else f"http://{host.name}"
    return ConfigError(
        f"The {secret} was not sent to {host.base_url}.",
        why="that is another machine, and http:// has no encryption",
        next_step="use https://, or allow it for this host: "
        f'%config OllamaMagics.insecure_hosts = ["{name}"]',
    )
