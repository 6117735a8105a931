"""Whether messages are missing: the numbers of each subscription."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Literal, NamedTuple, TypeAlias

from .values import Row

#: Notices that are remembered for each subscription until their hole is seen.
_NOTICES_MAX = 64

#: Stream, provider, symbol or account, entity id, interval, channel.
_Subscription: TypeAlias = tuple[str, str, str | None, str | None, str | None, str | None]


class Gap(NamedTuple):
    """Messages of a subscription that never come.

    ``last_seq`` is ``None`` when nobody knows how many: after a reconnect numbers begin at 1 again.
    For private streams ``symbol`` is the account.
    """

    stream: str
    symbol: str | None
    first_seq: int
    last_seq: int | None
    #: ``dropped``: the gateway says so, this client was too slow. ``sequence``: numbers are missing
    #: without a notice. ``reconnect``: the connection was away.
    reason: Literal["dropped", "sequence", "reconnect"]
    provider: str
    interval: str | None = None
    channel: str | None = None


def _of(message: Row) -> _Subscription:
    # An account is one subscription, whatever its messages are about.
    account = message.get("account")
    return (
        message["stream"],
        message["provider"],
        account or message.get("symbol"),
        # With ccxt one symbol is listed on many exchanges.
        None if account else message.get("entity_id"),
        message.get("interval"),
        message.get("channel"),
    )


class Sequence:
    """The last number of each subscription of one connection."""

    def __init__(self) -> None:
        self._last: dict[_Subscription, int] = {}
        self._told: defaultdict[_Subscription, list[tuple[int, int]]] = defaultdict(list)

    def expect(self, subscriptions: list[Row]) -> None:
        """Takes up subscriptions, so that one without a message yet can be missed too."""
        for subscription in subscriptions:
            # One that is there already goes on counting.
            self._last.setdefault(_of(subscription), 0)

    def forget(self, subscriptions: list[Row]) -> None:
        """Drops subscriptions that are over."""
        for subscription in subscriptions:
            self._last.pop(_of(subscription), None)

    def notice(self, data: dict[str, Any]) -> Gap:
        """The gap that `system.flow` tells; its numbers are not told a second time."""
        first, last = data["from_seq"], data["to_seq"]
        of = _of(data)
        told = self._told[of]
        told.append((first, last))
        del told[:-_NOTICES_MAX]
        stream, provider, symbol, _, interval, channel = of
        return Gap(stream, symbol, first, last, "dropped", provider, interval, channel)

    def message(self, message: Row) -> Gap | None:
        """Counts a message; the gap before it that nobody has told, if there is one."""
        of = _of(message)
        seq: int = message["seq"]
        # Not expected: the rest of one that is over.
        last = self._last.get(of, seq)
        self._last[of] = seq
        first, end = last + 1, seq - 1
        # A number that goes back is a subscription that began anew.
        if seq <= last or first > end:
            return None
        stream, provider, symbol, _, interval, channel = of
        told = self._told.get(of, [])
        for notice in sorted(told):
            if notice[0] <= first <= notice[1]:
                first = notice[1] + 1
                told.remove(notice)
        if first > end:
            return None
        return Gap(stream, symbol, first, end, "sequence", provider, interval, channel)

    def lost(self) -> list[Gap]:
        """The gaps of a connection that is away, and a fresh start."""
        gaps = [
            Gap(stream, symbol, last + 1, None, "reconnect", provider, interval, channel)
            for (stream, provider, symbol, _, interval, channel), last in self._last.items()
        ]
        self._last.clear()
        self._told.clear()
        return gaps
