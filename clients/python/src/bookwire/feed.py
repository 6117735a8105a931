"""The WebSocket feed: subscriptions that survive reconnects, and what is lost is told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal

from .connection import Socket
from .key import Key
from .sequence import Gap
from .session import Session, Status
from .values import Row, Words, words

log = logging.getLogger("bookwire")


class Feed(Session):
    """One connection with several subscriptions; iterate over it for their messages.

    It connects again by itself, after 0.25 s to 30 s, longer each time and by chance, proves the
    key and subscribes again. `on_gap` is called with a :class:`Gap` for whatever is lost, where it
    is missing among the messages: what the gateway dropped because this client is too slow,
    numbers that are missing, and for each subscription when the connection was away. Without
    `on_gap` gaps are logged as warnings.

    Memory is bounded: when `buffer_size` messages wait, the socket is not read any more; the
    gateway then drops by its policy (:meth:`configure_flow`) and tells. A client that reads
    nothing for a minute is disconnected.

    Subscriptions of one book with several depths are told apart by `channel` alone, also by gaps:
    give each a channel of its own.

    Args:
        on_status: called with the ``data`` of ``system.status``: ``provider``, ``symbol``,
            ``state`` (``connected stale resyncing disconnected maintenance``), ``reason``.
        decimal: numbers of messages are `decimal.Decimal`; else int or float.

    Raises:
        BookwireError: there is no gateway at the start; later, while iterating, when a
            subscription is refused for good after a reconnect, as with a revoked key.
    """

    def __init__(
        self,
        url: str,
        *,
        key: Key | None = None,
        on_gap: Callable[[Gap], object] | None = None,
        on_status: Callable[[Row], object] | None = None,
        decimal: bool = False,
        buffer_size: int = 256,
        ca_file: str | None = None,
    ) -> None:
        socket = Socket(url, decimal=decimal, ca_file=ca_file)
        super().__init__(socket, key=key, decimal=decimal, buffer_size=buffer_size)
        self._on_gap = on_gap or _log_gap
        self._on_status = on_status or _log_status

    async def __aenter__(self) -> Feed:
        await self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends it; messages that wait can still be read."""
        await self._end()

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> Row:
        if self._task is None:
            raise RuntimeError("enter the feed first: async with client.feed() as feed")
        while (item := await self._next()) is not None:
            if isinstance(item, Gap):
                self._on_gap(item)
            elif isinstance(item, Status):
                self._on_status(item.data)
            else:
                return item
        raise StopAsyncIteration

    async def subscribe(
        self,
        stream: str,
        *,
        provider: str,
        symbols: Words | None = None,
        exchange: str | None = None,
        interval: str | None = None,
        depth: int | None = None,
        mode: Literal["snapshot", "delta"] | None = None,
        timing: bool | None = None,
        account: str | None = None,
        channel: str | None = None,
    ) -> Row:
        """Adds subscriptions, one for each symbol; parameters as of :meth:`Client.stream`.

        Args:
            channel: your own name for a group of subscriptions; their messages carry it.

        Returns:
            The answer: ``subscriptions`` that are there now, ``rejected`` with an error each.

        Raises:
            BookwireError: nothing was subscribed, or no answer came.
        """
        asked = {
            "stream": stream,
            "provider": provider,
            "symbols": words(symbols) or None,
            "exchange": exchange,
            "interval": interval,
            "depth": depth,
            "mode": mode,
            "timing": timing,
            "account": account,
            "channel": channel,
        }
        return await self._request("subscribe", asked)

    async def unsubscribe(
        self,
        stream: str | None = None,
        *,
        provider: str | None = None,
        symbols: Words | None = None,
        channel: str | None = None,
        **parameters: Any,
    ) -> Row:
        """Takes subscriptions away, named as they were subscribed, or all of a channel."""
        asked = {
            "stream": stream,
            "provider": provider,
            "symbols": words(symbols) or None,
            "channel": channel,
            **parameters,
        }
        return await self._request("unsubscribe", asked)

    async def auth(self, provider: str, *, cancel_on_disconnect: bool | None = None) -> Row:
        """Proves the client's key for a provider, which the private streams need; again after each
        reconnect.

        Args:
            cancel_on_disconnect: the key's orders are canceled when its last such session ends.
                Send ``False`` before leaving with orders in the market.

        Raises:
            ValueError: the client has no key.
            BookwireError: refused.
        """
        answer = await self._request("auth", self._proof(provider, cancel_on_disconnect))
        self._proofs[provider] = cancel_on_disconnect
        return answer

    async def configure_flow(
        self,
        *,
        max_messages_per_second: int | None = None,
        buffer_size: int | None = None,
        drop_policy: Literal["oldest", "newest", "conflate", "disconnect"] | None = None,
        channel: str | None = None,
    ) -> Row:
        """What the gateway does when this client is too slow; the answer shows what is in force."""
        asked = {
            "max_messages_per_second": max_messages_per_second,
            "buffer_size": buffer_size,
            "drop_policy": drop_policy,
            "channel": channel,
        }
        answer = await self._request("configure_flow", asked)
        set_now = {name: value for name, value in asked.items() if value is not None}
        self._flows[channel] = {**self._flows.get(channel, {}), **set_now}
        return answer

    async def subscriptions(self) -> list[Row]:
        """What the gateway has subscribed for this connection."""
        found: list[Row] = (await self._request("list_subscriptions", {}))["subscriptions"]
        return found

    async def ping(self) -> Row:
        """Asks whether the gateway answers."""
        return await self._request("ping", {})


def _log_gap(gap: Gap) -> None:
    log.warning("messages are missing: %s", gap)


def _log_status(status: Row) -> None:
    level = logging.INFO if status.get("state") == "connected" else logging.WARNING
    log.log(level, "status: %s", status)
