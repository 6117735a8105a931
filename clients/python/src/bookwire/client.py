"""The client: REST calls, and doors to the WebSocket feed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Literal

from .data import DataCalls
from .errors import from_answer
from .feed import Feed
from .sequence import Gap
from .trading import TradingCalls
from .values import Row, Words

_PRIVATE = ("crypto.orders", "crypto.account")


class Client(DataCalls, TradingCalls):
    """A bookwire gateway.

    Calls block; :meth:`stream` and :meth:`feed` are asynchronous. Close it with :meth:`close` or
    ``with``. Calls may come from several threads.

    Args:
        url: the gateway's address.
        key: ``"id.secret"``, or else `api_key` and `secret`. Requests are signed with the secret,
            which is never sent, printed or put into an error. Market data of a gateway on loopback
            need no key.
        timeout: seconds until a REST call gives up, of the connection and of each read.
        ca_file: certificates that a TLS gateway is checked against instead of the usual ones.

    Raises:
        ValueError: the address or the key is not well-formed.
    """

    def feed(
        self,
        *,
        on_gap: Callable[[Gap], object] | None = None,
        on_status: Callable[[Row], object] | None = None,
        decimal: bool = False,
        buffer_size: int = 256,
    ) -> Feed:
        """A WebSocket connection for several subscriptions: ``async with client.feed() as feed``.
        Parameters as of :class:`Feed`."""
        return Feed(
            self.url,
            key=self._key,
            on_gap=on_gap,
            on_status=on_status,
            decimal=decimal,
            buffer_size=buffer_size,
            ca_file=self._ca_file,
        )

    async def stream(
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
        on_gap: Callable[[Gap], object] | None = None,
        on_status: Callable[[Row], object] | None = None,
        decimal: bool = False,
    ) -> AsyncGenerator[Row, None]:
        """Messages of one stream, over reconnects.

        ``crypto.orders`` and ``crypto.account`` are authenticated with the client's key. What is
        lost is told to `on_gap`, or logged as a warning without it; see :class:`Feed`.

        Args:
            stream: ``crypto.trades``, ``crypto.klines`` (`interval`), ``crypto.orderbook``
                (`depth`, `mode`), ``crypto.ticker``, ``crypto.funding``, or a private one.
            symbols: any accepted spelling, one or several.
            timing: ``data`` has ``received_ns`` and ``sent_ns``, wall clock, ns.

        Yields:
            ``{"stream", "provider", "symbol", "entity_id", "seq", "data": {…}}``.

        Raises:
            BookwireError: no gateway at the start, or any of the symbols is refused.
        """
        async with self.feed(on_gap=on_gap, on_status=on_status, decimal=decimal) as feed:
            if stream in _PRIVATE:
                await feed.auth(provider)
            answer = await feed.subscribe(
                stream,
                provider=provider,
                symbols=symbols,
                exchange=exchange,
                interval=interval,
                depth=depth,
                mode=mode,
                timing=timing,
                account=account,
            )
            for rejected in answer.get("rejected") or []:
                raise from_answer(rejected)
            async for message in feed:
                yield message
