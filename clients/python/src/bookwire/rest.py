"""One REST request: sent, signed, answered or an error."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import requests

from .errors import CONNECTION_FAILED, UNEXPECTED_ANSWER, BookwireError, from_answer
from .key import Key

DEFAULT_URL = "http://127.0.0.1:8080"

_Self = TypeVar("_Self", bound="Rest")


class Rest:
    """A gateway's address, a key, and the connections to it."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        api_key: str | None = None,
        secret: str | None = None,
        timeout: float = 30.0,
        ca_file: str | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
            # Not shown: somebody may have put a password into it.
            raise ValueError("url is the gateway's address without credentials: " + DEFAULT_URL)
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._key = Key.of(key, api_key, secret)
        self._ca_file = ca_file
        self._session = requests.Session()
        # A gateway is near: the environment's proxies and .netrc are not meant for it.
        self._session.trust_env = False
        if ca_file is not None:
            self._session.verify = ca_file

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r}, key={self._key!r})"

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the kept connections."""
        self._session.close()

    def _call(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
        *,
        accepted: tuple[int, ...] = (),
    ) -> Any:
        """Sends a request once and returns its answer; statuses in `accepted` are answers too.

        Raises:
            BookwireError: an error of the gateway, or no answer (``CLIENT_CONNECTION_FAILED``).
        """
        data = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        url = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        request = self._session.prepare_request(requests.Request(method, url, data=data))
        request.headers["Accept"] = "application/json"
        if data:
            request.headers["Content-Type"] = "application/json"
        if self._key is not None:
            request.headers.update(self._key.headers(method, request.path_url, data))
        try:
            # A redirect would carry the signature to somebody else.
            answer = self._session.send(request, timeout=self.timeout, allow_redirects=False)
            text = answer.content
        except requests.RequestException as error:
            why = "timed out" if isinstance(error, requests.Timeout) else "failed"
            text_of_it = f"{method} {path} at {self.url} {why}: {type(error).__name__}"
            raise BookwireError(
                CONNECTION_FAILED,
                text_of_it,
                recovery_suggestions=["see whether the gateway is running there"],
            ) from error
        trace_id = answer.headers.get("X-Trace-Id")
        try:
            value = json.loads(text) if text else None
        except ValueError:
            value = None
        if answer.ok or answer.status_code in accepted:
            if value is None:
                raise BookwireError(
                    UNEXPECTED_ANSWER,
                    f"{method} {path}: the answer is not JSON",
                    status=answer.status_code,
                    trace_id=trace_id,
                )
            return value
        raise from_answer(
            value,
            status=answer.status_code,
            trace_id=trace_id,
            retry_after=answer.headers.get("Retry-After"),
        )

    def _get(self, path: str, query: dict[str, str] | None = None) -> Any:
        """Reads; once more when the connection breaks, as a kept one does when it is too old."""
        try:
            return self._call("GET", path, query)
        except BookwireError as error:
            cause = error.__cause__
            if not isinstance(cause, requests.ConnectionError) or isinstance(
                cause, requests.Timeout
            ):
                raise
        return self._call("GET", path, query)
