"""The far side of provider `ccxt`: the ccxt library behind HTTP and WebSocket on loopback.

bookwire starts this program, hands it one JSON line on standard input (token, hosts, options, depth) and
keeps that pipe open: its end is the order to stop. One JSON line on standard output says where to
connect, or why that is impossible. README.md beside this file describes what is asked and answered.

Numbers leave as text, exactly as ccxt has them. Nothing is rounded, no bar and no trade is invented.
"""
import asyncio
import json
import os
import re
import sys
import threading
import time
from decimal import Decimal

# ccxt prints to standard output when it is told to be verbose: only our own line may go there.
LINE = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


def tell(**line):
    LINE.write(json.dumps(line) + "\n")
    LINE.flush()


def fail(kind, reason, code=3):
    tell(event="failed", kind=kind, reason=reason)
    os._exit(code)


try:
    import ccxt.pro
    from aiohttp import WSMsgType, web
except ImportError as error:
    fail("missing", str(error))

SETUP = json.loads(sys.stdin.buffer.readline())
TOKEN = SETUP["token"]
HOSTS = SETUP.get("hosts", {})
OPTIONS = SETUP.get("options", {})
DEPTH = SETUP.get("depth", 100)
VENUES_MAX = SETUP.get("venues", 16)

# A poll of what a venue can't push: pause in seconds, by stream kind.
POLL = {"book": 1.0, "trades": 1.0, "ticker": 1.0, "ohlcv": 5.0, "funding": 15.0}
# Books leave at most so often; what changes meanwhile goes out together.
BOOK_PAUSE = 0.02
# Trades that one answer of ccxt can hold: its default of 1000 loses some in a burst.
TRADES_KEPT = 100_000
# Exchanges whose own code in ccxt calculates with what it takes for floats: texts break their books.
FLOATS = {"coinbase", "coinbaseadvanced"}
# Exchanges that count by the minute. ccxt would spread requests evenly over it: a list of all open orders
# would keep the next order back for seconds.
BY_MINUTE = {"binance", "binanceusdm"}
# Addresses of HOSTS with their paths, and what they stand for.
MOVED = {}
KNOWN = re.compile(r"[a-z0-9_]{1,32}")
UNITS = {"m": 60, "h": 3600, "d": 86400}


# What must not be seen anywhere: keys of accounts, in each form in which one could be shown.
SECRETS = set()
# Signatures and keys in addresses that ccxt shows in its errors.
SIGNED = re.compile(r"((?:sign|signature|sig|apikey|api_key|key|token|listenkey)=)[^&\s\"']+", re.IGNORECASE)


def clean(shown):
    for secret in SECRETS:
        shown = shown.replace(secret, "***")
    return SIGNED.sub(r"\1***", shown)


class CleanLog:
    """Standard error without secrets."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, shown):
        return self.stream.write(clean(shown))

    def __getattr__(self, name):
        return getattr(self.stream, name)


sys.stderr = CleanLog(sys.stderr)


class Refused(Exception):
    """What was asked can't be done; shown like an error of ccxt of that class."""

    def __init__(self, name, message):
        super().__init__(message)
        self.name = name


def text(number):
    """A number as plain decimal text; None stays None."""
    if number is None:
        return None
    value = number if isinstance(number, Decimal) else Decimal(str(number))
    if not value.is_finite():
        return None
    shown = format(value, "f")
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def scaled(number, size):
    """A quantity in base units: venues trade some contracts in multiples of `size`."""
    return text(number) if size is None else text(Decimal(str(number)) * size)


def error_of(error):
    """An error with its classes, so that whoever does not know the first finds one that it does."""
    if isinstance(error, Refused):
        named = getattr(ccxt, error.name, None)
        bases = [base.__name__ for base in named.__mro__[1:]] if named else []
        return {"class": error.name, "bases": bases, "message": clean(str(error))[:2000]}
    bases = [base.__name__ for base in type(error).__mro__[1:]]
    message = clean(str(error) or type(error).__name__)
    return {"class": type(error).__name__, "bases": bases, "message": message[:2000]}


def repoint(node, hostname):
    """Puts the addresses of HOSTS in the place of the venue's own, paths kept."""
    if isinstance(node, dict):
        return {key: repoint(value, hostname) for key, value in node.items()}
    if not isinstance(node, str):
        return node
    url = node.replace("{hostname}", hostname or "")
    parts = re.match(r"^(?:https?|wss?)://([^/]+)(.*)$", url)
    if parts is None:
        return node
    host = parts.group(1)
    bare = host.rsplit(":", 1)[0]
    found = HOSTS.get(host) or HOSTS.get(bare)
    if found is None:
        named = [base for name, base in HOSTS.items() if name.rsplit(":", 1)[0] == bare]
        # One host can answer requests and streams: the scheme tells which address is meant.
        kind = "ws" if url.startswith("ws") else "http"
        found = next((base for base in named if base.startswith(kind)), None)
    if found is None:
        return node
    there = found.rstrip("/") + parts.group(2)
    MOVED[there] = url
    return there


def own_address(url):
    """A venue's own address of what was asked for at another: some classes know by it what an error means."""
    there = max((one for one in MOVED if url and url.startswith(one)), key=len, default=None)
    return url if there is None else MOVED[there] + url[len(there):]


def made(name, more=(), **settings):
    """An exchange of ccxt, at the addresses that we are told; `more` are options of its own."""
    kind = getattr(ccxt.pro, name, None) or getattr(ccxt.async_support, name)
    own = OPTIONS.get(name, {})
    options = {"tradesLimit": TRADES_KEPT, "OHLCVLimit": 1000, **own.get("options", {}), **dict(more)}
    pace = {"rateLimiterAlgorithm": "rollingWindow"} if name in BY_MINUTE else {}
    ex = kind({"timeout": 15_000, **pace, **own, **settings, "options": options})
    ex.urls["api"] = repoint(ex.urls["api"], getattr(ex, "hostname", None))
    judge = ex.handle_errors
    ex.handle_errors = lambda code, reason, url, *rest: judge(code, reason, own_address(url), *rest)
    return ex


class Venue:
    """One exchange of ccxt."""

    def __init__(self, name):
        # `number`: ccxt would make binary floats of the venue's decimals.
        self.ex = made(name, number=float if name in FLOATS else str)
        self.name = name
        self.loading = asyncio.Lock()
        self.users = {}

    def has(self, what):
        return self.ex.has.get(what) is True

    def failed(self, error):
        """Text where a float is expected ends in a TypeError: from then on the venue's numbers are
        floats, whose shortest text is the same decimal up to 15 digits."""
        if isinstance(error, TypeError) and self.ex.number is str:
            print(f"{self.name}: numbers are floats from now on: {error}", file=sys.stderr)
            self.ex.number = float

    async def load(self, reload=False):
        async with self.loading:
            if reload or not self.ex.markets:
                await self.ex.load_markets(reload)

    async def market(self, symbol):
        await self.load()
        found = self.ex.markets.get(symbol)
        if found is None:
            raise Refused("BadSymbol", f"{self.name} has no market {symbol}")
        return found

    def timeframe(self, level):
        frames = self.ex.timeframes or {}
        if level in frames:
            return level
        raise Refused("NotSupported", f"{self.name} has no bars of {level}")

    def levels(self):
        return [level for level in ("1m", "5m", "15m", "30m", "1h", "4h", "1d")
                if level in (self.ex.timeframes or {})]


VENUES = {}


async def venue(name):
    found = VENUES.get(name)
    if found is None:
        if not KNOWN.fullmatch(name) or name not in ccxt.exchanges:
            raise Refused("BadVenue", f"ccxt has no exchange {name[:40]}")
        if len(VENUES) >= VENUES_MAX:
            raise Refused("TooManyVenues", f"{VENUES_MAX} exchanges are in use already")
        found = VENUES[name] = Venue(name)
    return found


def contract(market):
    """Base units in one contract; None where quantities are in base units already."""
    if not market.get("contract") or market.get("contractSize") is None:
        return None
    size = Decimal(str(market["contractSize"]))
    return None if size == 1 else size


def step(ex, value):
    """A step out of ccxt's precision, whichever of its three ways the venue is described in."""
    if value is None:
        return None
    mode = ex.precisionMode
    if mode == ccxt.TICK_SIZE:
        return text(value)
    if mode == ccxt.DECIMAL_PLACES:
        return text(Decimal(1).scaleb(-int(Decimal(str(value)))))
    return None


def row_of(ex, market):
    limits = market.get("limits") or {}
    size = contract(market)
    bound = lambda part, end: (limits.get(part) or {}).get(end)
    quantity = lambda value: None if value is None else scaled(value, size)
    precision = market.get("precision") or {}
    amount = step(ex, precision.get("amount"))
    return {
        "symbol": market["symbol"], "id": str(market["id"]), "base": market["base"], "quote": market["quote"],
        "settle": market.get("settle"), "active": market.get("active") is not False,
        "margin": bool(market.get("margin")) or bool(market.get("swap")),
        "price_step": step(ex, precision.get("price")), "qty_step": quantity(amount),
        "min_qty": quantity(bound("amount", "min")), "max_qty": quantity(bound("amount", "max")),
        "min_notional": text(bound("cost", "min")), "max_leverage": text(bound("leverage", "max")),
        "maker": text(market.get("maker")), "taker": text(market.get("taker")),
        "contract_size": text(size), "created": market.get("created"),
    }


async def markets(found, query):
    await found.load(query.get("reload") == "1")
    is_spot = query["market"] == "spot"
    rows, left_out = [], {}
    for market in found.ex.markets.values():
        reason = None
        if market.get("spot") and not market.get("contract"):
            if not is_spot:
                continue
        elif market.get("swap"):
            if is_spot:
                continue
            if not market.get("linear"):
                reason = "not a linear contract"
        else:
            reason = f"type {market.get('type')}"
        if reason is None:
            rows.append(row_of(found.ex, market))
        else:
            left_out[reason] = left_out.get(reason, 0) + 1
    return {"exchange": found.name, "levels": found.levels(), "markets": rows, "left_out": left_out}


def side_of(found, side):
    """The taker's side. Coinbase tells the maker's, and ccxt hands it on as it is."""
    if found.name in ("coinbase", "coinbaseexchange", "coinbaseadvanced"):
        return {"buy": "sell", "sell": "buy"}.get(side)
    return side


def trade_row(found, market, trade):
    size = contract(market)
    # Some venues number no trades; time, price and quantity then stand for the id.
    name = trade.get("id") or f"{trade['timestamp']}-{trade['price']}-{trade['amount']}-{trade['side']}"
    return [str(name), text(trade["price"]), scaled(trade["amount"], size), side_of(found, trade["side"]),
            trade["timestamp"]]


def levels_of(rows, size):
    return [[text(row[0]), scaled(row[1], size)] for row in rows[:DEPTH] if row[1]]


def bar_row(row):
    return [row[0], *(text(value) for value in row[1:6])]


def integer(query, name):
    return int(query[name]) if query.get(name) else None


async def book(found, query):
    market = await found.market(query["symbol"])
    answer = await found.ex.fetch_order_book(market["symbol"])
    size = contract(market)
    return {"seq": answer.get("nonce") or 0, "ts": answer.get("timestamp"),
            "bids": levels_of(answer["bids"], size), "asks": levels_of(answer["asks"], size)}


async def ohlcv(found, query):
    market = await found.market(query["symbol"])
    level = found.timeframe(query["level"])
    rows = await found.ex.fetch_ohlcv(market["symbol"], level, integer(query, "since"), integer(query, "limit"))
    return {"bars": [bar_row(row) for row in rows]}


async def trades(found, query):
    market = await found.market(query["symbol"])
    rows = await found.ex.fetch_trades(market["symbol"], integer(query, "since"), integer(query, "limit"))
    return {"trades": [trade_row(found, market, row) for row in rows]}


async def funding(found, query):
    market = await found.market(query["symbol"])
    if not found.has("fetchFundingRateHistory"):
        raise Refused("NotSupported", f"{found.name} tells no past funding")
    rows = await found.ex.fetch_funding_rate_history(
        market["symbol"], integer(query, "since"), integer(query, "limit"))
    return {"rates": [[row["timestamp"], text(row["fundingRate"])] for row in rows]}


ASKED = {"markets": markets, "book": book, "ohlcv": ohlcv, "trades": trades, "funding": funding}


class Stream:
    """One subscription: a task that says what is new until it is cancelled."""

    def __init__(self, send, name):
        self.send, self.name = send, name
        venue_name, self.symbol, kind = name.split("|")
        self.venue_name = venue_name
        self.kind, _, self.level = kind.partition(":")
        self.last = None
        self.seq = 0

    async def prepare(self):
        self.venue = await venue(self.venue_name)
        self.market = await self.venue.market(self.symbol)
        self.size = contract(self.market)
        if self.kind == "ohlcv":
            self.venue.timeframe(self.level)
        needs = {"ohlcv": ("watchOHLCV", "fetchOHLCV"), "trades": ("watchTrades", "fetchTrades"),
                 "book": ("watchOrderBook", "fetchOrderBook"), "ticker": ("watchOrderBook", "fetchOrderBook"),
                 "funding": ("watchFundingRate", "fetchFundingRate")}.get(self.kind)
        if needs is None or not any(self.venue.ex.has.get(name) for name in needs):
            raise Refused("NotSupported", f"{self.venue_name} has no {self.kind}")
        self.is_pushed = self.venue.has(needs[0])

    async def run(self):
        step = getattr(self, f"{self.kind}_news")
        while True:
            await step()
            await asyncio.sleep(BOOK_PAUSE if self.is_pushed and self.kind in ("book", "ticker")
                                else 0 if self.is_pushed else POLL[self.kind])

    async def say(self, kind, **fields):
        await self.send({"t": kind, "x": self.venue_name, "s": str(self.market["id"]), **fields})

    async def trades_news(self):
        ex = self.venue.ex
        rows = await (ex.watch_trades(self.symbol) if self.is_pushed else ex.fetch_trades(self.symbol))
        if self.last is None:
            self.last = set()
            if not self.is_pushed:
                # What a poll finds first has happened before the subscription.
                self.last = {trade_row(self.venue, self.market, row)[0] for row in rows}
        rows = [trade_row(self.venue, self.market, row) for row in rows]
        if not self.is_pushed:
            fresh = [row for row in rows if row[0] not in self.last]
            self.last = {row[0] for row in rows}
            rows = fresh
        if rows:
            await self.say("trades", d=rows)

    async def image(self):
        ex = self.venue.ex
        found = await (ex.watch_order_book(self.symbol) if self.is_pushed else ex.fetch_order_book(self.symbol))
        # The object is ccxt's own book and changes with the next frame: copied before any await.
        sides = [[(row[0], row[1]) for row in found[side][:DEPTH] if row[1]] for side in ("bids", "asks")]
        return sides, found.get("timestamp") or int(time.time() * 1000)

    async def book_news(self):
        sides, stamp = await self.image()
        shown = lambda rows: [[text(price), scaled(amount, self.size)] for price, amount in rows]
        self.seq += 1
        if self.last is None:
            await self.say("book", k="image", u=self.seq, ts=stamp, b=shown(sides[0]), a=shown(sides[1]))
        else:
            changes = []
            for old, new in zip(self.last, sides):
                before, now = dict(old), dict(new)
                rows = [(price, 0) for price, _ in old if price not in now]
                rows += [(price, amount) for price, amount in new if before.get(price) != amount]
                changes.append(rows)
            if not any(changes):
                self.seq -= 1
                return
            await self.say("book", k="delta", u=self.seq, ts=stamp, b=shown(changes[0]), a=shown(changes[1]))
        self.last = sides

    async def ticker_news(self):
        sides, stamp = await self.image()
        best = [side[0] if side else None for side in sides]
        if best == self.last:
            return
        self.last = best
        shown = [None if row is None else [text(row[0]), scaled(row[1], self.size)] for row in best]
        await self.say("ticker", ts=stamp, b=shown[0], a=shown[1])

    async def ohlcv_news(self):
        ex = self.venue.ex
        if self.is_pushed:
            rows = await ex.watch_ohlcv(self.symbol, self.level)
        else:
            since = None if self.last is None else self.last[0]
            rows = await ex.fetch_ohlcv(self.symbol, self.level, since, 3)
        now = int(time.time() * 1000)
        for row in sorted(rows, key=lambda row: row[0]):
            row = list(row[:6])
            if self.last is not None and row[0] < self.last[0]:
                continue
            if self.last is None and row[0] + UNITS[self.level[-1]] * int(self.level[:-1]) * 1000 <= now:
                # The bars before the running one are history.
                continue
            if self.last is not None and row[0] > self.last[0]:
                # ccxt tells no end of a bar: the next one's beginning is it.
                await self.say("ohlcv", l=self.level, d=bar_row(self.last), closed=True)
            elif row == self.last:
                continue
            await self.say("ohlcv", l=self.level, d=bar_row(row), closed=False)
            self.last = row

    async def funding_news(self):
        ex = self.venue.ex
        rate = await (ex.watch_funding_rate(self.symbol) if self.is_pushed else ex.fetch_funding_rate(self.symbol))
        mark = rate.get("markPrice")
        if mark is None and self.venue.has("fetchMarkPrice"):
            mark = (await ex.fetch_mark_price(self.symbol)).get("markPrice")
        if mark is None:
            raise Refused("NotSupported", f"{self.venue_name} tells no mark price")
        await self.say("funding", r=text(rate.get("fundingRate")), m=text(mark), i=text(rate.get("indexPrice")),
                       n=rate.get("fundingTimestamp") or rate.get("nextFundingTimestamp"),
                       ts=rate.get("timestamp") or int(time.time() * 1000))


class Link:
    """One WebSocket connection of bookwire's."""

    def __init__(self, socket):
        self.socket, self.tasks = socket, {}

    async def send(self, message):
        # It waits while bookwire does not read, and so holds back what makes messages.
        await self.socket.send_str(json.dumps(message, separators=(",", ":")))

    async def follow(self, name):
        stream, subscribed = None, False
        try:
            stream = Stream(self.send, name)
            await stream.prepare()
            await self.send({"op": "subscribed", "stream": name})
            subscribed = True
            await stream.run()
        except asyncio.CancelledError:
            raise
        except ConnectionError:
            return
        except Exception as error:  # Also TypeError and the like from inside of ccxt.
            if self.tasks.get(name) is asyncio.current_task():
                del self.tasks[name]
            if subscribed:
                stream.venue.failed(error)
            op = "lost" if subscribed else "refused"
            await self.send({"op": op, "stream": name, "error": error_of(error)})

    async def on_request(self, request):
        for name in request["streams"]:
            if request["op"] == "subscribe":
                if name not in self.tasks:
                    self.tasks[name] = asyncio.create_task(self.follow(name))
            else:
                task = self.tasks.pop(name, None)
                if task is not None:
                    task.cancel()
        if request["op"] == "unsubscribe":
            await self.send({"op": "done", "id": request["id"]})

    def close(self):
        for task in self.tasks.values():
            task.cancel()


async def on_socket(request):
    if request.match_info["token"] != TOKEN:
        raise web.HTTPNotFound
    socket = web.WebSocketResponse(max_msg_size=1 << 20, compress=False, heartbeat=20)
    await socket.prepare(request)
    link = Link(socket)
    try:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await link.on_request(json.loads(message.data))
    finally:
        link.close()
    return socket


async def on_asked(request):
    if request.match_info["token"] != TOKEN:
        raise web.HTTPNotFound
    answer = ASKED.get(request.match_info["what"])
    if answer is None:
        raise web.HTTPNotFound
    found = None
    try:
        found = await venue(request.match_info["venue"])
        return web.json_response(await answer(found, request.query))
    except Exception as error:
        if found is not None:
            found.failed(error)
        status = 503 if isinstance(error, ccxt.OperationFailed) else 400
        return web.json_response({"error": error_of(error)}, status=status)


async def on_time(request):
    if request.match_info["token"] != TOKEN:
        raise web.HTTPNotFound
    return web.json_response({"time": time.time_ns(), "venues": sorted(VENUES)})


# More is added by what follows in `trade.py`: routes, and what has to be closed at the end.
ROUTES = [web.get("/{token}/stream", on_socket), web.get("/{token}/time", on_time),
          web.get("/{token}/venue/{venue}/{what}", on_asked)]
OPEN = []


async def main():
    app = web.Application()
    app.add_routes(ROUTES)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    ended, loop = asyncio.Event(), asyncio.get_running_loop()

    def wait_for_the_end():
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    tell(event="ready", port=runner.addresses[0][1], ccxt=ccxt.__version__, exchanges=ccxt.exchanges)
    await ended.wait()
    await runner.cleanup()
    opened = [found.ex for group in (VENUES, *OPEN) for found in group.values()]
    await asyncio.wait([asyncio.create_task(ex.close()) for ex in opened] or
                       [asyncio.create_task(asyncio.sleep(0))], timeout=2)


def run():
    try:
        import uvloop
        uvloop.run(main())
    except ImportError:
        asyncio.run(main())
    os._exit(0)

