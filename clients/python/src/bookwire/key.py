"""An API key. Its secret signs and is never sent, printed or put into an error."""

from __future__ import annotations

import hashlib
import hmac
import threading
import time


class Key:
    """Id and secret of an API key."""

    __slots__ = ("_last_ms", "_lock", "_secret", "id")

    def __init__(self, key_id: str, secret: str) -> None:
        self.id = key_id
        self._secret = secret.encode()
        self._last_ms = 0
        self._lock = threading.Lock()

    @classmethod
    def of(cls, key: str | None, api_key: str | None, secret: str | None) -> Key | None:
        """The key of ``"id.secret"`` or of its two parts; ``None`` when nothing is given.

        Raises:
            ValueError: half a key, or both forms. What was given is not in the message.
        """
        if key is not None:
            if api_key is not None or secret is not None:
                raise ValueError("give either key or api_key and secret")
            api_key, _, secret = key.strip().partition(".")
        elif api_key is None and secret is None:
            return None
        if not api_key or not secret:
            raise ValueError('a key has an id and a secret: key="id.secret"')
        return cls(api_key, secret)

    def __repr__(self) -> str:
        return f"Key(id={self.id!r})"

    def __reduce__(self) -> str:
        raise TypeError("a key is not pickled: its secret would be in the clear")

    def timestamp(self) -> str:
        """Milliseconds since 1970, never the same twice: a signature is good once."""
        with self._lock:
            self._last_ms = max(time.time_ns() // 1_000_000, self._last_ms + 1)
            return str(self._last_ms)

    def sign(self, *parts: bytes) -> str:
        """Hex HMAC-SHA256 of the parts, one after the other."""
        return hmac.new(self._secret, b"".join(parts), hashlib.sha256).hexdigest()

    def headers(self, method: str, path_with_query: str, body: bytes) -> dict[str, str]:
        """What proves a REST request."""
        timestamp = self.timestamp()
        signature = self.sign(timestamp.encode(), method.encode(), path_with_query.encode(), body)
        return {"X-API-Key": self.id, "X-Timestamp": timestamp, "X-Signature": signature}
