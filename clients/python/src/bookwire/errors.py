"""The one exception of this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: No answer came: refused, cut off or timed out. A code of the client, not of the contract.
CONNECTION_FAILED = "CLIENT_CONNECTION_FAILED"

#: An answer came that is not of the contract's form, as a proxy's page is.
UNEXPECTED_ANSWER = "CLIENT_UNEXPECTED_ANSWER"

#: Codes that pass by themselves, so that a lost subscription is asked for again.
TRANSIENT = frozenset(
    {
        CONNECTION_FAILED,
        "CRYPTO_PROVIDER_UNAVAILABLE",
        "CRYPTO_WEBSOCKET_DISCONNECTED",
        "CRYPTO_EXCHANGE_MAINTENANCE",
        "CRYPTO_ORDERBOOK_DESYNC",
        "CRYPTO_RATE_LIMIT_EXCEEDED",
        "CRYPTO_SUBSCRIPTION_LIMIT",
        "CRYPTO_INTERNAL_ERROR",
    }
)


class BookwireWarning(UserWarning):
    """An answer that is there but not whole: some of the codes asked for do not exist."""


class BookwireError(Exception):
    """An error of the gateway, or none of its answers.

    Attributes:
        code: the contract's code, ``CRYPTO_PAIR_NOT_FOUND``; codes that begin with ``CLIENT_``
            are this client's own, for what never reached the gateway or never came back.
        message: for people.
        details: what the code is about; an exchange's own code is among them.
        recovery_suggestions: what to do next.
        trace_id: finds the request in the gateway's log; ``None`` without an answer.
        status: HTTP status; ``None`` on the WebSocket and without an answer.
        retry_after: seconds to wait, of a 429; else ``None``.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        recovery_suggestions: list[str] | None = None,
        trace_id: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.details: dict[str, Any] = dict(details or {})
        self.recovery_suggestions = list(recovery_suggestions or [])
        self.trace_id = trace_id
        self.status = status
        self.retry_after = retry_after

    def __str__(self) -> str:
        text = f"{self.code}: {self.message}"
        if self.recovery_suggestions:
            text += f" ({'; '.join(self.recovery_suggestions)})"
        return text

    @property
    def is_transient(self) -> bool:
        """Whether the same may succeed later."""
        return self.code in TRANSIENT


def from_answer(
    answer: object,
    *,
    status: int | None = None,
    trace_id: str | None = None,
    retry_after: str | None = None,
) -> BookwireError:
    """The error of an answer ``{"error": {…}}``; whatever else it is, an error too."""
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("code"), str):
        text = "the answer is not of the contract's form; is this the address of a bookwire?"
        return BookwireError(UNEXPECTED_ANSWER, text, status=status, trace_id=trace_id)
    details = error.get("details") or {}
    wait = retry_after if retry_after is not None else details.get("retry_after_seconds")
    try:
        seconds = None if wait is None else float(wait)
    except (TypeError, ValueError):
        seconds = None
    return BookwireError(
        error["code"],
        str(error.get("message", "")),
        details=details,
        recovery_suggestions=error.get("recovery_suggestions"),
        trace_id=error.get("trace_id") or trace_id,
        status=status,
        retry_after=seconds,
    )
