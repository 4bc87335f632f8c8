"""What a server and ollama.com say about an account, its balance and its use.

Sources: Ollama ``api/types.go`` (0.33.0-rc2), ``docs/api/balance.mdx`` and
``docs/api/cloud-usage.mdx`` (0.40), and recordings of a server that is not signed in.
The values of ``plan`` are not documented.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ollama_magic.client.json_values import (
    JsonObject,
    json_fields,
    json_float,
    json_object,
    json_objects,
    json_text,
)


@dataclass(frozen=True, slots=True)
class Account:
    """The account that a server is signed in to."""

    id: str = ""
    email: str = ""
    name: str = ""
    plan: str = ""
    """Such as ``free``."""

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read the response of ``POST /api/me``."""
        return cls(**json_fields(cls, data))


@dataclass(frozen=True, slots=True)
class CloudStatus:
    """Whether a server may use Ollama's cloud."""

    disabled: bool = False
    source: str = ""
    """What disables it: ``env``, ``config``, ``both`` or ``none``."""

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read ``cloud`` of ``GET /api/status``."""
        return cls(data.get("disabled") is True, **json_fields(cls, data))


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A model that Ollama recommends."""

    model: str = ""
    description: str = ""
    context_length: int = 0
    max_output_tokens: int = 0
    vram_bytes: int = 0
    required_plan: str = ""
    """The plan that a cloud model needs; empty if it needs none."""

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read one entry of ``recommendations``."""
        return cls(**json_fields(cls, data, {"vram": data.get("vram_bytes")}))


@dataclass(frozen=True, slots=True)
class Quota:
    """How much of a session or week of a plan is left."""

    name: str
    remaining_percent: float
    resets_at: str = ""
    """RFC 3339."""


@dataclass(frozen=True, slots=True)
class Balance:
    """What is left of the plan and of purchased credit; None: not told."""

    included_usd: float | None = None
    """What is left of ``allowance_usd``."""
    allowance_usd: float | None = None
    """What the plan includes in a period."""
    period_ends: str = ""
    """RFC 3339."""
    purchased_usd: float | None = None
    quotas: tuple[Quota, ...] = ()
    """The limits of older plans, which count in percent."""

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read the response of ``GET /api/balance``."""
        included = json_object(data.get("included"))
        limits = {name: json_object(included.get(name)) for name in _QUOTAS}
        return cls(
            json_float(included.get("balance_usd")),
            json_float(included.get("allowance_usd")),
            json_text(json_object(included.get("period")).get("until")),
            json_float(json_object(data.get("purchased")).get("balance_usd")),
            tuple(
                Quota(name, percent, json_text(limit.get("resets_at")))
                for name, limit in limits.items()
                if (percent := json_float(limit.get("remaining_percent"))) is not None
            ),
        )


_QUOTAS = ("session", "weekly")


@dataclass(frozen=True, slots=True)
class UsageBucket:
    """The use of the cloud in an hour or a day."""

    starts: str = ""
    """RFC 3339."""
    ends: str = ""
    is_partial: bool = False
    """Whether this hour or day has not ended yet."""
    request_count: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    """The part of ``input_tokens`` that was in the cache."""
    output_tokens: int = 0
    usage_usd: float | None = None
    """None for older plans, which count requests."""

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read one entry of ``buckets``, or ``totals``."""
        others = {
            "starts": data.get("from"),
            "ends": data.get("until"),
        }
        known = json_fields(cls, data, others)
        known["usage_usd"] = json_float(data.get("usage_usd"))
        known["is_partial"] = data.get("partial") is True
        return cls(**known)


@dataclass(frozen=True, slots=True)
class CloudUsage:
    """The use of the cloud over a range of time."""

    range: str
    granularity: str
    """``hour`` or ``day``."""
    totals: UsageBucket
    buckets: tuple[UsageBucket, ...]

    @classmethod
    def from_json(cls, data: JsonObject) -> Self:
        """Read the response of ``GET /api/usage``."""
        return cls(
            json_text(data.get("range")),
            json_text(data.get("granularity")),
            UsageBucket.from_json(json_object(data.get("totals"))),
            tuple(map(UsageBucket.from_json, json_objects(data.get("buckets")))),
        )
