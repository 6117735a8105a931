"""The socket below the feed: opened, opened again, kept alive."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import ssl
from typing import Any

import aiohttp

from .errors import CONNECTION_FAILED, BookwireError
from .values import Row

log = logging.getLogger("bookwire")

#: Seconds of silence until a connection counts as dead; the gateway pings every 20 s.
SILENCE_SECONDS = 60.0

#: Most bytes of a message; a book of 5000 levels a side has some 300 KiB.
_MESSAGE_BYTES_MAX = 16 * 1024 * 1024

_CONNECT_SECONDS = 10.0


def pause(attempt: int) -> float:
    """Seconds before an attempt (from 0): by chance, so that clients do not come all at once, and
    up to twice as long each time, within 0.25 and 30."""
    return random.uniform(0.25, min(30.0, 0.5 * 2 ** min(attempt, 16)))


class Socket:
    """A WebSocket to the gateway's ``/ws``, one after the other."""

    def __init__(self, url: str, *, decimal: bool, ca_file: str | None) -> None:
        self._url = "ws" + url.removeprefix("http") + "/ws"
        self._query = {"numbers": "string"} if decimal else {}
        self._ssl: ssl.SSLContext | bool = (
            ssl.create_default_context(cafile=ca_file) if ca_file else True
        )
        self._http: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._attempt = 0

    async def open(self) -> None:
        """Connects once.

        Raises:
            BookwireError: nobody there, or refused; then with its HTTP status.
        """
        if self._http is None:
            self._http = aiohttp.ClientSession()
        try:
            self._socket = await asyncio.wait_for(self._connect(self._http), _CONNECT_SECONDS)
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            status = getattr(error, "status", None)
            headers = getattr(error, "headers", None) or {}
            wait = headers.get("Retry-After", "")
            why = f"HTTP {status}" if status else type(error).__name__
            if self._attempt == 0:
                await self._http.close()
                self._http = None
            raise BookwireError(
                CONNECTION_FAILED,
                f"no connection to {self._url}: {why}",
                status=status,
                trace_id=headers.get("X-Trace-Id"),
                retry_after=float(wait) if wait.isdigit() else None,
                recovery_suggestions=["see whether the gateway is running there"],
            ) from error

    async def _connect(self, http: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
        # Pings are answered in `receive`, where they also count as a sign of life.
        return await http.ws_connect(
            self._url,
            params=self._query,
            autoping=False,
            max_msg_size=_MESSAGE_BYTES_MAX,
            ssl=self._ssl,
        )

    async def reopen(self) -> None:
        """Connects, however often it takes."""
        await self.drop()
        while True:
            self._attempt += 1
            await asyncio.sleep(pause(self._attempt - 1))
            try:
                return await self.open()
            except BookwireError as error:
                log.warning("%s; trying again", error)

    def is_good(self) -> None:
        """The connection does what it is for: the next pause is short again."""
        self._attempt = 0

    async def send(self, request: Row) -> None:
        """Sends a request.

        Raises:
            BookwireError: the connection is gone.
        """
        try:
            if self._socket is None:
                raise ConnectionResetError
            await self._socket.send_str(json.dumps(request))
        except (aiohttp.ClientError, OSError) as error:
            raise BookwireError(CONNECTION_FAILED, "the connection was lost") from error

    async def receive(self) -> dict[str, Any] | None:
        """The next message; ``None`` when the connection is over."""
        socket = self._socket
        if socket is None:
            return None
        why: object
        try:
            while True:
                frame = await socket.receive(timeout=SILENCE_SECONDS)
                if frame.type is aiohttp.WSMsgType.TEXT:
                    message = json.loads(frame.data)
                    if isinstance(message, dict):
                        return message
                elif frame.type is aiohttp.WSMsgType.PING:
                    await socket.pong(frame.data)
                elif frame.type is not aiohttp.WSMsgType.PONG:
                    why = f"{socket.close_code} {frame.extra or ''}".strip()
                    break
        except asyncio.TimeoutError:
            why = f"silent for {SILENCE_SECONDS:.0f} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            why = type(error).__name__
        log.warning("the feed of %s was closed: %s", self._url, why)
        return None

    async def drop(self) -> None:
        """Ends this connection; another one may follow."""
        if self._socket is not None:
            await self._socket.close()

    async def close(self) -> None:
        """Ends it."""
        await self.drop()
        if self._http is not None:
            await self._http.close()
            self._http = None
