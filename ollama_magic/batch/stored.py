"""What was answered before, and is not asked again.

Knows which kept answer is one to this very request, and how a row's answer is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from ollama_magic.batch.dispatch import Landed
from ollama_magic.batch.servers import Server
from ollama_magic.batch.values import Reading
from ollama_magic.client.requests import GenerateRequest
from ollama_magic.errors import ReplyDataError
from ollama_magic.history.cache import Answers, KeptAnswer, request_key


class Kept:
    """The answers of earlier calls, and where those of this one are kept.

    Parameters
    ----------
    servers
        An answer counts when the model that gave it is, to the byte, that of one of
        these.
    of_any_digest
        None of them can tell its models: an answer of the model's name counts.
    """

    def __init__(
        self,
        answers: Answers,
        reading: Reading,
        servers: Sequence[Server],
        *,
        of_any_digest: bool = False,
    ) -> None:
        self._answers = answers
        self._reading = reading
        self._of_any_digest = of_any_digest
        self._digests = {server.digest for server in servers}

    def model_of(self, requests: Iterable[GenerateRequest]) -> str:
        """Return the model that answered the first of these that was answered."""
        for request in requests:
            kept = self._answers.find_answer(request_key(request))
            if kept is not None:
                return kept.model
        return ""

    def find(self, request: GenerateRequest) -> str | None:
        """Return the text that this very request was answered with, if it was."""
        key = request_key(request)
        for digest in self._digests:
            kept = self._answers.find_answer(key, request.model, digest)
            # NB: an empty digest asks for any, and only an unknown one is its equal.
            is_its = self._of_any_digest or (kept is not None and kept.digest == digest)
            if kept is not None and is_its and self._is_fit(kept):
                return kept.text
        return None

    def keep(self, landed: Landed) -> None:
        """Keep an answer; it is on disk when this returns."""
        answered, server = landed.answered, landed.server
        answer = KeptAnswer(
            model=landed.request.model,
            digest=server.digest,
            text=answered.text,
            thinking=answered.thinking,
            thinking_s=answered.thinking_s,
            done_reason=answered.done_reason,
            stats=answered.stats,
            host_kind=server.answers_from,
            server_note=server.note,
            answered_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._answers.keep_answer(request_key(landed.request), answer)

    def _is_fit(self, kept: KeptAnswer) -> bool:
        try:
            self._reading.check(kept.text, kept.done_reason)
        except ReplyDataError:
            return False
        return True
