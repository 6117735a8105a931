"""What the feed does below its methods: one reader, requests, reconnects."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections import deque

from .connection import Socket, pause
from .errors import CONNECTION_FAILED, BookwireError, from_answer
from .key import Key
from .sequence import Gap, Sequence
from .values import Row, exact

log = logging.getLogger("bookwire")

#: Seconds that an answer may take.
_ANSWER_SECONDS = 15.0

#: So many more may wait while an answer is being waited for, which comes behind them.
_OVERFLOW = 8192


class Status:
    """A `system.status`, in its place among the messages."""

    def __init__(self, data: Row) -> None:
        self.data = data


class Session:
    """A connection, what it has to be told again, and what waits to be read.

    ```text
    socket ─► reader (one task) ─► items, bounded ─► whoever iterates
                └► answers ─► whoever asked
    ```
    """

    def __init__(self, socket: Socket, *, key: Key | None, decimal: bool, buffer_size: int) -> None:
        self._socket = socket
        self._key = key
        self._decimal = decimal
        self._buffer_size = max(1, buffer_size)
        self._items: deque[Row | Gap | Status] = deque()
        self._filled = asyncio.Event()
        self._space = asyncio.Event()
        self._usable = asyncio.Event()
        self._ids = itertools.count(1)
        self._pending: dict[int, asyncio.Future[Row]] = {}
        self._sequence = Sequence()
        #: What a new connection has to be told.
        self._proofs: dict[str, bool | None] = {}
        self._flows: dict[str | None, Row] = {}
        self._wanted: dict[str, Row] = {}
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._is_over = False

    async def _start(self) -> None:
        await self._socket.open()
        self._task = asyncio.create_task(self._run())

    async def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._is_over = True
        self._filled.set()
        await self._socket.close()

    async def _next(self) -> Row | Gap | Status | None:
        """The next item; `None` at the end."""
        while not self._items:
            if self._failure is not None:
                raise self._failure
            if self._is_over:
                return None
            self._filled.clear()
            await self._filled.wait()
        item = self._items.popleft()
        self._space.set()
        return item

    def _proof(self, provider: str, cancel_on_disconnect: bool | None) -> Row:
        if self._key is None:
            raise ValueError('this needs a key: Client(key="id.secret")')
        timestamp = self._key.timestamp()
        return {
            "provider": provider,
            "api_key": self._key.id,
            "timestamp": int(timestamp),
            "signature": self._key.sign(f"{timestamp}{self._key.id}{provider}".encode()),
            "cancel_on_disconnect": cancel_on_disconnect,
        }

    async def _request(self, method: str, asked: Row, *, is_restoring: bool = False) -> Row:
        """Asks and waits for the answer, over a reconnect that is under way."""
        if self._task is None or self._is_over:
            raise RuntimeError("the feed is not open")
        number = next(self._ids)
        answer: asyncio.Future[Row] = asyncio.get_running_loop().create_future()
        request: Row = {"id": number, "method": method}
        params = {name: value for name, value in asked.items() if value is not None}
        if params:
            request["params"] = params
        try:
            if not is_restoring:
                await asyncio.wait_for(self._usable.wait(), _ANSWER_SECONDS)
            self._pending[number] = answer
            # The answer is behind messages that nobody takes: there is room for some more.
            self._space.set()
            await self._socket.send(request)
            found = await asyncio.wait_for(answer, _ANSWER_SECONDS)
        except asyncio.TimeoutError:
            text = f"no answer to `{method}` within {_ANSWER_SECONDS:.0f} s"
            if len(self._items) >= self._buffer_size:
                text += ": it is behind messages that are not read"
            raise BookwireError(CONNECTION_FAILED, text) from None
        finally:
            self._pending.pop(number, None)
        if found.get("status") == "error":
            raise from_answer(found)
        return found

    async def _run(self) -> None:
        """Reads connection after connection until it is closed or refused for good."""
        try:
            while True:
                restoring = asyncio.create_task(self._restore())
                try:
                    await self._read()
                finally:
                    self._usable.clear()
                    self._give_up_pending()
                    restoring.cancel()
                    (outcome,) = await asyncio.gather(restoring, return_exceptions=True)
                if isinstance(outcome, Exception) and not _is_transient(outcome):
                    raise outcome
                for gap in self._sequence.lost():
                    await self._put(gap)
                await self._socket.reopen()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._failure = error
        finally:
            self._is_over = True
            self._filled.set()
            # Here too: at the end of `asyncio.run` tasks are canceled, and nothing else is called
            # of a stream that was left with `break`.
            await self._socket.close()

    async def _read(self) -> None:
        while (message := await self._socket.receive()) is not None:
            if "method" in message:
                self._take_answer(message)
                continue
            if message.get("stream") == "system.flow":
                await self._put(self._sequence.notice(message["data"]))
            elif message.get("stream") == "system.status":
                await self._put(Status(message["data"]))
            elif "seq" in message:
                gap = self._sequence.message(message)
                if gap is not None:
                    await self._put(gap)
                if self._decimal:
                    message["data"] = exact(message["data"])
                await self._put(message)
            elif "error" in message:
                log.warning("the gateway says: %s", from_answer(message))

    def _take_answer(self, answer: Row) -> None:
        """Notes what is subscribed, in its place among the messages, and wakes who asked."""
        subscriptions = answer.get("subscriptions") or []
        if answer.get("status") == "subscribed":
            self._sequence.expect(subscriptions)
            self._wanted.update((_name(item), item) for item in subscriptions)
        elif answer.get("status") == "unsubscribed":
            self._sequence.forget(subscriptions)
            for item in subscriptions:
                self._wanted.pop(_name(item), None)
        waiting = self._pending.pop(answer.get("id", 0), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    async def _put(self, item: Row | Gap | Status) -> None:
        """Hands an item over; waits, and with it the socket, while too many wait."""
        while len(self._items) >= self._buffer_size + (_OVERFLOW if self._pending else 0):
            self._space.clear()
            await self._space.wait()
        self._items.append(item)
        self._filled.set()

    async def _restore(self) -> None:
        try:
            await self._tell()
        except Exception:
            # Ends the reading, which learns why from this task.
            await self._socket.drop()
            raise

    async def _tell(self) -> None:
        """Tells a new connection what the one before knew, until all of it is there."""
        for provider, cancel_on_disconnect in list(self._proofs.items()):
            proof = self._proof(provider, cancel_on_disconnect)
            await self._request("auth", proof, is_restoring=True)
        for flow in list(self._flows.values()):
            await self._request("configure_flow", flow, is_restoring=True)
        missing = dict(self._wanted)
        for attempt in itertools.count():
            for request in _requests(missing):
                try:
                    answer = await self._request("subscribe", request, is_restoring=True)
                except BookwireError as error:
                    if not error.is_transient:
                        raise
                    log.warning("not subscribed again yet: %s", error)
                    continue
                for refusal in map(from_answer, answer["rejected"]):
                    if not refusal.is_transient:
                        raise refusal
                    log.warning("not subscribed again yet: %s", refusal)
                for item in answer["subscriptions"]:
                    missing.pop(_name(item), None)
            self._usable.set()
            self._socket.is_good()
            # What was unsubscribed meanwhile is not missed.
            missing = {name: item for name, item in missing.items() if name in self._wanted}
            if not missing:
                return
            await asyncio.sleep(pause(attempt))

    def _give_up_pending(self) -> None:
        for waiting in self._pending.values():
            if not waiting.done():
                text = "the connection was lost before the answer came"
                waiting.set_exception(BookwireError(CONNECTION_FAILED, text))
        self._pending.clear()


def _is_transient(error: Exception) -> bool:
    return isinstance(error, BookwireError) and error.is_transient


def _name(subscription: Row) -> str:
    # With and without times it is the same subscription.
    return json.dumps({**subscription, "timing": None}, sort_keys=True)


def _requests(subscriptions: dict[str, Row]) -> list[Row]:
    """What subscribes them again: a request for each channel."""
    by_channel: dict[str | None, list[Row]] = {}
    for item in subscriptions.values():
        entry = {name: item[name] for name in item if name not in ("channel", "symbol")}
        entity_id = entry.pop("entity_id", None)
        if entity_id is not None:
            entry["symbols"] = [entity_id]
        by_channel.setdefault(item.get("channel"), []).append(entry)
    return [{"channel": name, "streams": entries} for name, entries in by_channel.items()]
