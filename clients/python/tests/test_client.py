"""The client against a running gateway: ``python tests/test_client.py URL [KEY]``.

Needs a gateway with bars and live trades of ``binance`` ``btcusdt`` and ``ethusdt``, as
``bookwire demo`` has them. With a key (``id.secret``) that may trade, orders are placed on its
paper account. Exit code 0: all passed, 1: the first failure is shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import pickle
import sys
import time
import traceback
import urllib.request
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

import pandas as pd
from aiohttp import WSMsgType, web

from bookwire import BookwireError, BookwireWarning, Client, Gap

KLINE_COLUMNS = (
    "id entity_id provider code name level open high low close volume turnover "
    "volume_base volume_quote trade_count vwap change_pct turnover_rate"
).split()
WITHIN = 20.0


def raises(kind: type[BaseException], call: Callable[[], object]) -> Any:
    try:
        value = call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised: {value!r}")


def raw(url: str) -> Any:
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


async def take(messages: Any, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    async def read() -> None:
        async for message in messages:
            found.append(message)
            if len(found) == count:
                return

    await asyncio.wait_for(read(), WITHIN)
    return found


# --- rows ---------------------------------------------------------------------------------------


def test_klines_are_a_frame(url: str) -> None:
    df = Client(url).klines("binance", "btcusdt", "1m", limit=1440)
    assert len(df) == 1440, len(df)
    assert isinstance(df.index, pd.DatetimeIndex) and df.index.name == "timestamp", df.index
    assert str(df.index.dtype) == "datetime64[ns, UTC]", df.index.dtype
    assert list(df.columns) == KLINE_COLUMNS, list(df.columns)
    for name in ("open", "high", "low", "close", "volume", "vwap", "turnover_rate"):
        assert df[name].dtype == "float64", (name, df[name].dtype)
    assert df["trade_count"].dtype == "int64", df["trade_count"].dtype
    assert df["turnover_rate"].isna().all(), "null is NaN"
    assert (df["high"] >= df["low"]).all()
    perp = Client(url).klines("binance", "btcusdt-perp", "5m", limit=3)
    assert set(perp["entity_id"]) == {"cryptoperp_binance_btcusdt"}, perp


def test_limits_beyond_a_page_and_a_request(url: str) -> None:
    df = Client(url).klines("binance", "btcusdt", limit=5500, columns="close")
    assert len(df) == 5500, len(df)
    assert list(df.columns) == ["close"], list(df.columns)
    steps = df.index.to_series().diff().dropna().unique()
    assert list(steps) == [pd.Timedelta(minutes=1)], steps


def test_walked_rows_are_those_of_one_request(url: str) -> None:
    # Two instruments: every instant has two rows, and a chunk's edge cuts between them.
    client = Client(url)
    now = datetime.now(timezone.utc).replace(second=0, microsecond=0)
    end = now - timedelta(minutes=10)
    start = end - timedelta(minutes=2800)
    path = (
        f"{url}/api/data/CryptoPair1mKdata?provider=binance&codes=btcusdt,ethusdt"
        f"&limit=10000&page_size=10000&start_timestamp={start:%Y-%m-%dT%H:%M:%SZ}"
        f"&end_timestamp={end:%Y-%m-%dT%H:%M:%SZ}"
    )
    for order in ("timestamp_asc", "timestamp_desc"):
        one = raw(f"{path}&order={order}")["data"]
        assert len(one) == 5602, len(one)
        asked: dict[str, Any] = {"start_timestamp": start, "end_timestamp": end, "order": order}
        codes = ["btcusdt", "ETH/USDT"]
        rows = client.klines("binance", codes, as_frame=False, **asked)
        assert rows == one, order
        rows = client.klines("binance", codes, as_frame=False, limit=5300, **asked)
        assert rows == one[:5300], order
    del asked["start_timestamp"], asked["order"]
    rows = client.klines("binance", codes, as_frame=False, limit=5301, **asked)
    assert rows == list(reversed(one))[-5301:], "the latest rows, in ascending order"


def test_decimals_are_exact(url: str) -> None:
    client = Client(url)
    end = datetime.now(timezone.utc) - timedelta(minutes=5)
    path = f"{url}/api/data/CryptoPair1mKdata?provider=binance&codes=btcusdt&limit=5&numbers=string"
    texts = raw(f"{path}&end_timestamp={end:%Y-%m-%dT%H:%M:%SZ}")["data"]
    rows = client.klines(
        "binance",
        "btcusdt",
        limit=5,
        end_timestamp=int(end.timestamp()),
        decimal=True,
        as_frame=False,
    )
    for row, text in zip(rows, texts, strict=True):
        for name in ("open", "close", "turnover", "vwap", "change_pct"):
            assert isinstance(row[name], Decimal) and str(row[name]) == text[name], (name, row)
        assert row["turnover_rate"] is None and isinstance(row["trade_count"], int), row
    df = client.klines("binance", "btcusdt", limit=5, decimal=True)
    assert all(isinstance(value, Decimal) for value in df["close"]), df["close"]
    assert df["turnover_rate"].isna().all(), df["turnover_rate"]


def test_other_schemas(url: str) -> None:
    client = Client(url)
    trades = client.trades("binance", "btcusdt", limit=50, side="buy")
    assert 0 < len(trades) <= 50 and set(trades["side"]) == {"buy"}, trades
    assert not trades["is_buyer_maker"].any() and trades["price"].dtype == "float64"
    book = client.orderbook("binance", "btcusdt", depth=5, decimal=True)
    (bid, _), (ask, _) = book["bids"][0], book["asks"][0]
    assert isinstance(bid, Decimal) and bid < ask, book
    assert len(book["bids"]) == 5 and book["best_bid"] == bid, book
    tickers = client.tickers("binance", ["btcusdt", "ethusdt"])
    assert len(tickers) == 2 and (tickers["best_bid"] < tickers["best_ask"]).all(), tickers
    pairs = client.query("CryptoPair", "binance", quote_symbols="USDT")
    assert "btcusdt" in set(pairs["code"]) and pairs["price_step"].dtype == "float64", pairs
    funding = client.funding("binance", "btcusdt-perp", limit=3)
    times = funding["next_funding_timestamp"]
    assert str(times.dtype) == "datetime64[ns, UTC]", times.dtype
    empty = client.klines("binance", "btcusdt", start_timestamp="2100-01-01")
    assert len(empty) == 0 and list(empty.columns) == KLINE_COLUMNS, empty
    assert str(empty.index.dtype) == "datetime64[ns, UTC]", empty.index
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        client.klines("binance", ["btcusdt", "zzzusdt"], limit=2)
    assert [warning.category for warning in told] == [BookwireWarning], told
    assert "binance" in client.providers()["crypto"]
    assert client.capabilities()["binance"]["supported_order_types"]
    assert client.schemas("binance")["kdata_schemas"]
    assert client.health()["status"] in ("healthy", "degraded", "unhealthy")
    assert any(row["name"] == "binance" for row in client.status())


def test_errors_have_their_fields(url: str) -> None:
    error = raises(BookwireError, lambda: Client(url).klines("binance", "zzzusdt"))
    assert (error.code, error.status) == ("CRYPTO_PAIR_NOT_FOUND", 404), error
    assert error.details["symbol"] == "zzzusdt" and error.trace_id, vars(error)
    assert error.recovery_suggestions and error.message in str(error), error
    assert error.retry_after is None
    error = raises(BookwireError, lambda: Client(url).klines("binance", "btcusdt", limit=0))
    assert (error.code, error.details["parameter"]) == ("CRYPTO_INVALID_PARAMETER", "limit"), error
    error = raises(BookwireError, lambda: Client("http://127.0.0.1:9").health())
    assert (error.code, error.status) == ("CLIENT_CONNECTION_FAILED", None), error
    raises(ValueError, lambda: Client("ftp://x"))
    raises(ValueError, lambda: Client(url).klines("binance", ["btcusdt", "btcusdt-perp"]))
    raises(ValueError, lambda: Client(url).klines("binance", "btcusdt", "2m"))
    raises(TypeError, lambda: Client(url).klines("binance", "btcusdt", start_timestamp=time.time()))


def test_a_secret_is_nowhere(url: str) -> None:
    secret = "c2VjcmV0LW9mLWEtdGVzdA"
    client = Client(url, api_key="nobody", secret=secret)
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.DEBUG)
    try:
        error = raises(BookwireError, lambda: client.balances("binance"))
        assert (error.code, error.status) == ("CRYPTO_UNAUTHORIZED", 401), error
        away = Client("http://127.0.0.1:9", key=f"nobody.{secret}")
        broken = raises(BookwireError, lambda: away.place("binance", "btcusdt", "buy", "market", 1))
        assert broken.details["client_order_id"], vars(broken)
    finally:
        logging.getLogger().removeHandler(handler)
        logging.getLogger().setLevel(logging.WARNING)
    half = raises(ValueError, lambda: Client(url, secret=secret))
    raises(TypeError, lambda: pickle.dumps(client._key))
    texts = [repr(client), str(client), repr(vars(client)), log.getvalue()]
    for shown in (error, broken, half):
        texts += [str(shown), repr(shown), repr(vars(shown))]
        texts += traceback.format_exception(shown)
    for text in texts:
        assert secret not in text, text
    assert "nobody" in repr(client), "the id may be shown"


# --- feed ---------------------------------------------------------------------------------------


async def test_streams(url: str) -> None:
    client = Client(url)
    stream = client.stream("crypto.trades", provider="binance", symbols=["btcusdt"], timing=True)
    trades = await take(stream, 5)
    await stream.aclose()
    assert [trade["seq"] for trade in trades] == [1, 2, 3, 4, 5], trades
    assert all(trade["entity_id"] == "cryptopair_binance_btcusdt" for trade in trades), trades
    assert trades[0]["data"]["price"] > 0 and trades[0]["data"]["received_ns"] > 0, trades[0]

    stream = client.stream(
        "crypto.orderbook",
        provider="binance",
        symbols="btcusdt",
        depth=10,
        mode="delta",
        decimal=True,
    )
    updates = await take(stream, 30)
    await stream.aclose()
    first = updates[0]["data"]
    assert first["type"] == "snapshot" and len(first["bids"]) == 10, first
    book = {side: dict(map(tuple, first[side])) for side in ("bids", "asks")}
    sequence = first["sequence"]
    for message in updates[1:]:
        data = message["data"]
        assert data["prev_sequence"] == sequence, (sequence, data)
        sequence = data["sequence"]
        for side in ("bids", "asks"):
            for price, volume in data[side]:
                assert isinstance(price, Decimal) and isinstance(volume, Decimal), data
                book[side][price] = volume
            book[side] = {price: volume for price, volume in book[side].items() if volume}
        assert max(book["bids"]) < min(book["asks"]), book

    refused = client.stream("crypto.trades", provider="binance", symbols=["btcusdt", "zzzusdt"])
    with contextlib.suppress(StopAsyncIteration):
        try:
            await refused.__anext__()
        except BookwireError as error:
            assert error.code == "CRYPTO_PAIR_NOT_FOUND", error
            return
    raise AssertionError("a symbol that is not listed was not refused")


async def test_a_feed_of_several_streams(url: str) -> None:
    gaps: list[Gap] = []
    async with Client(url).feed(on_gap=gaps.append) as feed:
        answer = await feed.subscribe(
            "crypto.trades", provider="binance", symbols=["btcusdt"], channel="a"
        )
        assert [item["symbol"] for item in answer["subscriptions"]] == ["btcusdt"], answer
        await feed.subscribe("crypto.ticker", provider="okx", symbols=["btcusdt"], channel="b")
        # More symbols on the same stream go on where it was.
        await feed.subscribe("crypto.ticker", provider="okx", symbols=["btcusdt"], channel="b")
        found = await take(feed, 60)
        assert {message["channel"] for message in found} == {"a", "b"}, found
        assert not gaps, gaps
        await feed.unsubscribe(channel="b")
        assert [item["channel"] for item in await feed.subscriptions()] == ["a"]
        assert (await feed.ping())["status"] == "pong"
        # A gateway that is told to send less drops, and says so.
        await feed.configure_flow(max_messages_per_second=5, buffer_size=16, drop_policy="oldest")
        end = time.monotonic() + WITHIN
        while not any(gap.reason == "dropped" for gap in gaps):
            assert time.monotonic() < end, "no drop was told"
            await take(feed, 1)
        await take(feed, 5)
    assert all(gap.reason == "dropped" and gap.stream == "crypto.trades" for gap in gaps), gaps


class Fake:
    """A feed that leaves numbers out and cuts the connection, which a gateway never does."""

    def __init__(self) -> None:
        self.subscribed: list[dict[str, Any]] = []

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        name: dict[str, Any] = {
            "stream": "crypto.trades",
            "provider": "p",
            "symbol": "ab",
            "entity_id": "e_p_ab",
        }
        async for frame in socket:
            assert frame.type is WSMsgType.TEXT
            asked = json.loads(frame.data)
            self.subscribed.append(asked)
            answer = {"id": asked["id"], "method": "subscribe", "status": "subscribed"}
            await socket.send_json({**answer, "subscriptions": [name], "rejected": []})
            for seq in (1, 2, 5, 9):
                if seq == 9:
                    flow: dict[str, Any] = {"channel": None, **name, "policy": "oldest"}
                    flow |= {"dropped": 2, "from_seq": 6, "to_seq": 7}
                    await socket.send_json({"stream": "system.flow", "data": flow})
                await socket.send_json({**name, "seq": seq, "data": {"price": 1.5}})
            assert request.transport is not None
            if len(self.subscribed) == 1:
                request.transport.abort()
        return socket


async def test_gaps_are_told_in_their_place(_url: str) -> None:
    fake = Fake()
    app = web.Application()
    app.router.add_get("/ws", fake.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    told: list[Any] = []
    client = Client(f"http://127.0.0.1:{port}")
    stream = client.stream("crypto.trades", provider="p", symbols="ab", on_gap=told.append)
    async with contextlib.aclosing(stream):
        for _ in range(8):
            message = await asyncio.wait_for(stream.__anext__(), WITHIN)
            told.append(message["seq"])
    await runner.cleanup()
    seen = [item if isinstance(item, int) else (*item[2:5],) for item in told]
    one = [1, 2, (3, 4, "sequence"), 5, (6, 7, "dropped"), (8, 8, "sequence"), 9]
    assert seen == [*one, (10, None, "reconnect"), *one], seen
    assert told[2][:2] == ("crypto.trades", "ab") and told[2].provider == "p", told[2]
    assert fake.subscribed[1]["params"]["streams"][0]["symbols"] == ["e_p_ab"], fake.subscribed


class Relay:
    """Bytes between clients and the gateway, until it is told to cut."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self.target = (host, int(port))
        self.writers: list[asyncio.StreamWriter] = []
        #: So many answers are swallowed, each with its connection.
        self.swallow = 0
        self.url = ""

    async def __aenter__(self) -> Relay:
        self.server = await asyncio.start_server(self.relay, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        self.cut()

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self.target)
        self.writers += [writer, far_writer]

        async def pump(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    if to is writer and self.swallow > 0:
                        self.swallow -= 1
                        break
                    to.write(data)
                    await to.drain()
            to.close()
            writer.close()

        # Ended with the test's loop.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))


async def test_a_lost_connection_comes_back(url: str) -> None:
    gaps: list[Gap] = []
    async with Relay(url) as relay, Client(relay.url).feed(on_gap=gaps.append) as feed:
        await feed.subscribe("crypto.trades", provider="binance", symbols=["btcusdt", "ethusdt"])
        await feed.subscribe(
            "crypto.orderbook",
            provider="binance",
            symbols="btcusdt",
            depth=5,
            mode="delta",
            channel="c",
        )
        await take(feed, 20)
        await feed.subscribe("crypto.ticker", provider="okx", symbols="btcusdt", timing=True)
        await feed.unsubscribe("crypto.ticker", provider="okx", symbols="btcusdt")
        before = await feed.subscriptions()
        relay.cut()
        end = time.monotonic() + WITHIN
        while len(gaps) < 3:
            assert time.monotonic() < end, gaps
            found = await take(feed, 1)
        assert {gap.reason for gap in gaps} == {"reconnect"}, gaps
        assert {(gap.stream, gap.symbol) for gap in gaps} == {
            ("crypto.trades", "btcusdt"),
            ("crypto.trades", "ethusdt"),
            ("crypto.orderbook", "btcusdt"),
        }, gaps
        # The gaps came before the first message of the new connection.
        found += await take(feed, 30)
        books = [m["data"]["type"] for m in found if m["stream"] == "crypto.orderbook"]
        assert not books or books[0] == "snapshot", books

        def by_text(items: list[dict[str, Any]]) -> list[str]:
            return sorted(json.dumps(item, sort_keys=True) for item in items)

        assert by_text(await feed.subscriptions()) == by_text(before)
        assert len(gaps) == 3, gaps


async def test_a_slow_reader_takes_no_memory(url: str) -> None:
    gaps: list[Gap] = []
    async with Client(url).feed(on_gap=gaps.append, buffer_size=8) as feed:
        await feed.subscribe("crypto.trades", provider="binance", symbols=["btcusdt", "ethusdt"])
        end = time.monotonic() + WITHIN
        while len(feed._items) < 8:
            assert time.monotonic() < end, len(feed._items)
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        assert len(feed._items) == 8, len(feed._items)
        # An answer is found behind them, and none of them is lost.
        await feed.ping()
        await take(feed, len(feed._items) + 50)
    assert not gaps, gaps


async def test_no_gateway_is_an_error_at_once(_url: str) -> None:
    stream = Client("http://127.0.0.1:9").stream("crypto.trades", provider="p", symbols="ab")
    try:
        await stream.__anext__()
    except BookwireError as error:
        assert error.code == "CLIENT_CONNECTION_FAILED", error
        return
    raise AssertionError("a stream without a gateway")


# --- orders -------------------------------------------------------------------------------------


def test_orders(url: str, key: str) -> None:
    client = Client(url, key=key)
    bid = client.orderbook("binance", "btcusdt", depth=1, decimal=True)["best_bid"]
    far = (bid * Decimal("0.9")).quantize(Decimal("1"))
    entity = "cryptopair_binance_btcusdt"
    order = client.place("binance", entity, "buy", "limit", "0.010", far, post_only=True)
    assert (order["status"], order["quantity"]) == ("open", Decimal("0.01")), order
    assert isinstance(order["price"], Decimal) and order["price"] == far, order
    own_id = order["client_order_id"]
    assert len(own_id) == 32, own_id
    again = client.place(
        "binance", entity, "buy", "limit", "0.010", far, post_only=True, client_order_id=own_id
    )
    assert again["order_id"] == order["order_id"], "the same id never makes a second order"
    other = raises(
        BookwireError,
        lambda: client.place(
            "binance", entity, "buy", "limit", "0.02", far, client_order_id=own_id
        ),
    )
    assert (other.code, other.status) == ("CRYPTO_DUPLICATE_ORDER", 409), other
    assert client.order(client_order_id=own_id)["order_id"] == order["order_id"]
    assert client.order(order["order_id"])["client_order_id"] == own_id
    open_ids = {row["order_id"] for row in client.orders("binance", status="open")}
    assert order["order_id"] in open_ids, open_ids
    amended = client.amend(order["order_id"], price=far - 1)
    assert amended["price"] == far - 1, amended
    canceled = client.cancel(client_order_id=own_id)
    assert canceled["status"] == "canceled", canceled

    bought = client.place("binance", "BTC/USDT", "buy", "market", Decimal("0.01"))
    assert bought["status"] == "filled" and bought["filled_quantity"] == Decimal("0.01"), bought
    fills = client.fills("binance", order_id=bought["order_id"])
    assert sum(fill["quantity"] for fill in fills) == Decimal("0.01"), fills
    assert all(isinstance(row["total"], Decimal) for row in client.balances("binance"))
    assert isinstance(client.positions("binance"), list)
    client.place("binance", entity, "buy", "limit", "0.01", far)
    answer = client.cancel_all("binance", entity_id=entity)
    assert len(answer["orders"]) == 1 and not answer["failed"], answer

    # Nothing that is not exact leaves.
    inexact: Any = 0.01
    error = raises(TypeError, lambda: client.place("binance", entity, "buy", "market", inexact))
    assert "str or a Decimal" in str(error), error
    raises(ValueError, lambda: client.place("binance", entity, "buy", "market", "NaN"))
    error = raises(
        BookwireError, lambda: client.place("binance", entity, "buy", "limit", "0.0000001", far)
    )
    assert error.status == 400 and error.recovery_suggestions, error
    assert key.partition(".")[2] not in repr(client) + repr(vars(error)) + str(error)


async def test_a_lost_answer_makes_no_second_order(url: str, key: str) -> None:
    entity = "cryptopair_binance_btcusdt"
    direct = Client(url, key=key)
    before = {row["order_id"] for row in direct.orders("binance")}
    async with Relay(url) as relay:
        client = Client(relay.url, key=key)
        relay.swallow = 2
        order = await asyncio.to_thread(
            client.place, "binance", entity, "buy", "limit", "0.01", "1000"
        )
        relay.swallow = 3
        try:
            await asyncio.to_thread(client.place, "binance", entity, "buy", "limit", "0.01", "1001")
            raise AssertionError("three lost answers are an error")
        except BookwireError as error:
            assert error.code == "CLIENT_CONNECTION_FAILED", error
            found = direct.order(client_order_id=error.details["client_order_id"])
    made = {row["order_id"] for row in direct.orders("binance")} - before
    assert made == {order["order_id"], found["order_id"]}, made
    direct.cancel_all("binance")


async def test_private_streams(url: str, key: str) -> None:
    client = Client(url, key=key)
    stream = client.stream("crypto.orders", provider="binance", decimal=True)
    async with contextlib.aclosing(stream):
        first = await asyncio.wait_for(stream.__anext__(), WITHIN)
        assert first["data"]["type"] == "snapshot", first
        order = await asyncio.to_thread(client.place, "binance", "btcusdt", "buy", "market", "0.01")
        filled = Decimal(0)
        while filled < Decimal("0.01"):
            message = await asyncio.wait_for(stream.__anext__(), WITHIN)
            fill = message["data"].get("fill")
            if message["data"]["order"]["order_id"] == order["order_id"] and fill:
                filled += fill["quantity"]
    gaps: list[Gap] = []
    async with Relay(url) as relay, Client(relay.url, key=key).feed(on_gap=gaps.append) as feed:
        await feed.auth("binance")
        await feed.subscribe("crypto.account", provider="binance")
        (snapshot,) = await take(feed, 1)
        relay.cut()
        (again,) = await take(feed, 1)
    assert snapshot["data"]["type"] == again["data"]["type"] == "snapshot", again
    assert [(gap.stream, gap.symbol, gap.reason) for gap in gaps] == [
        ("crypto.account", "default", "reconnect")
    ], gaps


def main() -> int:
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 1
    # What the tests cut is no news.
    logging.getLogger("bookwire").setLevel(logging.ERROR)
    for name, test in list(globals().items()):
        if not name.startswith("test_"):
            continue
        arguments = sys.argv[1 : 1 + test.__code__.co_argcount]
        if len(arguments) < test.__code__.co_argcount:
            print(f"skipped, needs a key: {name}")
            continue
        began = time.monotonic()
        try:
            result = test(*arguments)
            if asyncio.iscoroutine(result):
                asyncio.run(result)
        except BaseException:
            print(f"FAILED {name}", flush=True)
            traceback.print_exc()
            return 1
        print(f"passed {name} ({time.monotonic() - began:.1f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
