

# ---- Accounts: orders, executions, balances, positions ------------------------------------------------
#
# The second half of the program of bridge.py. bookwire hands the key over with each request, so nothing
# has to be told anew when this process was started again; instances of ccxt are kept by it.

import contextlib
import contextvars
import hashlib

import aiohttp

# Exchanges with one wallet for spot and perpetuals.
ONE_WALLET = {"bybit", "okx", "okxus", "myokx", "coinbase", "kraken", "hyperliquid", "bitmex"}
# One private stream for spot and perpetuals.
ONE_STREAM = {"bybit", "coinbase"}
# Where an amended order stays the same one, under the same id. `editOrder` elsewhere can be another order.
IN_PLACE = {"bybit", "okx"}
# Where a question without a symbol is about one settlement asset.
SETTLED = {"bybit": ("USDT", "USDC")}
# Where waiting orders have a list of their own, though open ones of a kind show them too.
ALL_OPEN = {"bybit"}
# Whose pushed executions tell the same fee as the answers do. -1: with the other sign, which ccxt turns round
# in answers alone. Elsewhere they are asked for once an order is told to have executed.
PUSHED_FEES = {"bybit": 1, "binance": 1, "okx": -1}
# Seconds between two hints that everything be asked for, where orders are not pushed.
ASK_PAUSE = 3.0
# After a stream was set up ccxt does not tell when the exchange has taken the subscription.
SETTLE = 1.0
ACCOUNTS_MAX = 32
OURS = re.compile(r"bw[0-9a-hjkmnp-tv-z]{26}")
DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"

# What happens to the request under way: whether something that changes had been sent, when it is too late.
TRIP = contextvars.ContextVar("trip", default=None)


def number_of(client):
    value = 0
    for digit in client[2:]:
        value = value * 32 + DIGITS.index(digit)
    return value


def client_of(value):
    return "bw" + "".join(DIGITS[(value >> (5 * place)) & 31] for place in reversed(range(26)))


class Plain:
    """Our client's ids as they are: 28 letters and digits."""

    def theirs(self, client):
        return client

    def ours(self, client):
        return client or None


class Uuid(Plain):
    """The same number as a UUID."""

    def theirs(self, client):
        digits = f"{number_of(client):032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def ours(self, client):
        digits = (client or "").replace("-", "")
        return client_of(int(digits, 16)) if re.fullmatch(r"[0-9a-f]{32}", digits) else client or None


class Hex(Uuid):
    """The same number as 0x and 32 digits."""

    def theirs(self, client):
        return f"0x{number_of(client):032x}"

    def ours(self, client):
        return super().ours((client or "").removeprefix("0x")) if (client or "").startswith("0x") else client or None


class Prefixed(Plain):
    """ccxt puts `t-` before it."""

    def ours(self, client):
        return (client or "").removeprefix("t-") or None


FORMS = {"kraken": Uuid(), "hyperliquid": Hex(), "gate": Prefixed(), "gateio": Prefixed()}


def kind_of(market):
    """`spot`, `perp`, or None for what bookwire has no place for."""
    if market.get("spot") and not market.get("contract"):
        return "spot"
    return "perp" if market.get("swap") and market.get("linear") else None


def given(ex, key):
    """A key in the fields that the exchange wants."""
    needs = {name for name, needed in (ex.requiredCredentials or {}).items() if needed}
    name, secret, third = key["key"], key["secret"], key.get("passphrase")
    fields = {"apiKey": name, "secret": secret}
    if needs & {"walletAddress", "privateKey"} and not needs & {"apiKey", "secret"}:
        fields = {"walletAddress": name, "privateKey": secret}
    if third:
        fields["uid" if "uid" in needs and "password" not in needs else "password"] = third
    lacks = sorted(needs - set(fields))
    if lacks:
        raise Refused("BadKey", f"{ex.id} needs more of a key than there is: {', '.join(lacks)}"
                      + (" (store it as the passphrase)" if set(lacks) <= {"password", "uid"} else ""))
    return fields


def shown_forms(secret):
    from urllib.parse import quote, quote_plus
    forms = {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
    forms.update(line for line in secret.splitlines() if not line.startswith("-----"))
    return {form for form in forms if len(form) >= 6}


class Account:
    """A key at an exchange."""

    def __init__(self, venue_, key):
        self.venue, self.name = venue_, venue_.name
        self.form = FORMS.get(self.name) or Plain()
        for part in ("key", "secret", "passphrase"):
            if key.get(part):
                SECRETS.update(shown_forms(key[part]))
        self.key = key
        self.ex = self.instance()
        self.guard()
        # True once an order came back with an id of ours: lists prove then what is not there.
        self.shows_clients = False
        self.links, self.used = 0, time.monotonic()

    def instance(self):
        # Nothing is tried again by ccxt itself, whatever the configuration says.
        options = {"maxRetriesOnFailure": 0, "warnOnFetchOpenOrdersWithoutSymbol": False,
                   "ordersLimit": 10_000, "newUpdates": True, "adjustForTimeDifference": False,
                   # Asked for by bookwire itself; one that fails would leave the stream waiting for ever.
                   "watchPositions": {"fetchPositionsSnapshot": False, "awaitPositionsSnapshot": False}}
        ex = made(self.name, options, number=str, timeout=10_000)
        for field, value in given(ex, self.key).items():
            setattr(ex, field, value)
        if self.venue.ex.markets:
            ex.set_markets_from_exchange(self.venue.ex)
        return ex

    def guard(self):
        """Notes what is sent, and sends nothing twice or too late."""
        fetch, judge = self.ex.fetch, self.ex.handle_errors

        async def checked(url, method="GET", headers=None, body=None):
            trip = TRIP.get()
            if trip is None or method == "GET":
                return await fetch(url, method, headers, body)
            if trip["until"] is not None and time.time() * 1000 > trip["until"]:
                raise Refused("TooLate", "it had waited for too long, and was not sent")
            place = (method, url.partition("?")[0])
            if place in trip["places"]:
                raise ccxt.RequestTimeout(f"{self.name}: the same request is not sent a second time")
            trip["places"].add(place)
            before, trip["sent"] = trip["sent"], True
            try:
                return await fetch(url, method, headers, body)
            except ccxt.NetworkError as error:
                if isinstance(error.__cause__, aiohttp.ClientConnectorError):
                    # The connection was never made.
                    trip["sent"] = before
                raise

        def judged(code, *rest):
            trip = TRIP.get()
            if trip is not None:
                trip["status"] = code
            return judge(code, *rest)

        self.ex.fetch, self.ex.handle_errors = checked, judged

    async def load(self):
        await self.venue.load()
        if self.ex.markets is not self.venue.ex.markets:
            self.ex.set_markets_from_exchange(self.venue.ex)

    def has(self, what):
        return self.ex.has.get(what) is True

    def feature(self, kind, method):
        found = self.ex.features or {}
        found = found.get("spot") if kind == "spot" else (found.get("swap") or {}).get("linear")
        return (found or {}).get(method) or {}

    def kinds(self):
        return {kind for kind in map(kind_of, self.ex.markets.values()) if kind}

    def apart(self, kind):
        """Waiting orders have a list of their own."""
        return self.feature(kind, "fetchOpenOrders").get("trigger") is True

    def market(self, symbol):
        found = self.ex.markets.get(symbol)
        if found is None or kind_of(found) is None:
            raise Refused("BadSymbol", f"{self.name} has no market {symbol}")
        return found

    def of_kind(self, kind):
        """Parameters that say which market is meant, where the exchange has both."""
        if len(self.kinds()) < 2:
            return {}
        return {"type": "spot"} if kind == "spot" else {"type": "swap", "subType": "linear"}

    def told(self, **parts):
        return {"exchange": self.name, **{name: part for name, part in parts.items() if part is not None}}


ACCOUNTS = {}
OPEN.append(ACCOUNTS)


async def account(name, key):
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).digest()
    found = ACCOUNTS.get((name, digest))
    if found is None:
        idle = sorted((one for one in ACCOUNTS.items() if not one[1].links), key=lambda one: one[1].used)
        while len(ACCOUNTS) >= ACCOUNTS_MAX and idle:
            place, old = idle.pop(0)
            del ACCOUNTS[place]
            await old.ex.close()
        found = Account(await venue(name), key)
        found = ACCOUNTS.setdefault((name, digest), found)
    found.used = time.monotonic()
    await found.load()
    return found


@contextlib.contextmanager
def trip(until=None):
    """What is done within is one command."""
    state = {"until": until, "sent": False, "status": None, "places": set()}
    mark = TRIP.set(state)
    try:
        yield state
    except Exception as error:
        error.trip = state
        raise
    finally:
        TRIP.reset(mark)


def order_row(acc, order, trigger=False):
    market = acc.ex.markets.get(order.get("symbol"))
    kind = market and kind_of(market)
    if not kind:
        return None
    size, info = contract(market), order.get("info") or {}
    info = info if isinstance(info, dict) else {}
    names = (order.get("clientOrderId"), info.get("algoClOrdId"), info.get("clientAlgoId"), info.get("caid"))
    client = acc.form.ours(next((name for name in names if name), None))
    if client and OURS.fullmatch(client):
        acc.shows_clients = True
    quantity = lambda name: None if order.get(name) is None else scaled(order[name], size)
    stop = order.get("triggerPrice") or order.get("stopLossPrice") or order.get("takeProfitPrice")
    tif = order.get("timeInForce")
    row = {
        "market": kind, "symbol": str(market["id"]), "id": order.get("id") and str(order["id"]), "client": client,
        "status": order.get("status"), "type": order.get("type"), "side": order.get("side"),
        "price": text(order.get("price")), "stop": text(stop), "amount": quantity("amount"),
        "filled": quantity("filled"), "average": text(order.get("average")), "tif": tif,
        "post_only": order.get("postOnly"), "reduce_only": order.get("reduceOnly"),
        "created": order.get("timestamp"), "updated": order.get("lastUpdateTimestamp") or order.get("lastTradeTimestamp"),
    }
    if client and OURS.fullmatch(client) and acc.name not in IN_PLACE:
        # Nobody changes it: some classes tell what is left as the amount.
        row["fixed"] = True
    # Binance pushes waiting orders together with all others.
    if trigger or info.get("aid") or (acc.name == "bybit" and info.get("orderStatus") in ("Untriggered", "Deactivated")):
        row["trigger"] = True
        if info.get("algoId") or info.get("aid"):
            became = info.get("ordId") or info.get("actualOrderId") or info.get("ai")
            row["becomes"] = str(became) if became else None
    return row


def order_rows(acc, orders, trigger=False):
    rows = (order_row(acc, order, trigger) for order in orders if order)
    return [row for row in rows if row]


def fill_row(acc, trade):
    market = acc.ex.markets.get(trade.get("symbol"))
    kind = market and kind_of(market)
    if not kind or trade.get("price") is None or trade.get("amount") is None:
        return None
    info = trade.get("info") or {}
    info = info if isinstance(info, dict) else {}
    fee = trade.get("fee") or {}
    fees = [one for one in (trade.get("fees") or [fee]) if one and one.get("cost") is not None]
    client = acc.form.ours(info.get("clientOrderId") or info.get("orderLinkId") or info.get("clOrdId"))
    # Some exchanges number no executions.
    name = trade.get("id") or "-".join(str(trade.get(part)) for part in ("order", "timestamp", "price", "amount"))
    return {
        "market": kind, "symbol": str(market["id"]), "id": str(name),
        "order": trade.get("order") and str(trade["order"]), "client": client, "side": trade.get("side"),
        "price": text(trade["price"]), "amount": scaled(trade["amount"], contract(market)),
        "fee": text(fees[0]["cost"]) if fees else None, "fee_asset": fees[0].get("currency") if fees else None,
        "maker": {"maker": True, "taker": False}.get(trade.get("takerOrMaker")),
        "ts": trade.get("timestamp") or int(time.time() * 1000),
    }


def fill_rows(acc, trades):
    return [row for row in (fill_row(acc, trade) for trade in trades) if row]


def balance_rows(acc, balance, kind):
    whose = None if acc.name in ONE_WALLET or len(acc.kinds()) < 2 else kind
    rows = []
    for asset, total in (balance.get("total") or {}).items():
        free, used = (balance.get(part, {}).get(asset) for part in ("free", "used"))
        if (total, free, used) != (None, None, None) and (total is not None or free is not None):
            rows.append({"market": whose, "asset": asset, "free": text(free), "used": text(used),
                         "total": text(total)})
    return rows


def position_row(acc, position):
    market = acc.ex.markets.get(position.get("symbol"))
    if not market or kind_of(market) != "perp":
        return None
    contracts = position.get("contracts")
    return {
        "symbol": str(market["id"]), "side": position.get("side") or None, "hedged": position.get("hedged") is True,
        "amount": scaled(contracts or 0, contract(market)), "entry": text(position.get("entryPrice")),
        "mark": text(position.get("markPrice")), "pnl": text(position.get("unrealizedPnl")),
        "leverage": text(position.get("leverage")), "margin": text(position.get("initialMargin")),
        "ratio": text(position.get("marginRatio")), "liquidation": text(position.get("liquidationPrice")),
        "ts": position.get("timestamp") or int(time.time() * 1000),
    }


def position_rows(acc, positions):
    rows = (position_row(acc, position) for position in positions)
    # Flat ones are told without a side.
    return [row for row in rows if row and (row["side"] or not Decimal(row["amount"]))]


def exactly(what, asked, rounded):
    """ccxt rounds what it sends: that must not change it."""
    if rounded is None or Decimal(str(rounded)) != Decimal(asked):
        raise Refused("OffStep", f"{what} {asked} is not one that the exchange takes; the next is {rounded}")
    return asked


def amount_of(acc, market, asked):
    size = contract(market)
    amount = Decimal(asked) if size is None else Decimal(asked) / size
    if size is not None and amount * size != Decimal(asked):
        raise Refused("OffStep", f"quantity {asked} is no whole number of contracts of {size}")
    amount = format(amount, "f")
    amount = amount.rstrip("0").rstrip(".") if "." in amount else amount
    return exactly("quantity", amount, acc.ex.amount_to_precision(market["symbol"], amount))


def price_of(acc, market, what, asked):
    return exactly(what, asked, acc.ex.price_to_precision(market["symbol"], asked))


async def buys_by_base(acc, market):
    """Whether a market order that buys on spot can be one of so many base units."""
    if acc.name == "bybit":
        return any(await acc.ex.is_unified_enabled())
    return acc.feature("spot", "createOrder").get("marketBuyRequiresPrice") is not True


def stop_params(acc, kind, ask):
    """The stop price under the name that the exchange takes it by."""
    can = acc.feature(kind, "createOrder")
    # A stop loss is reached against the position that it would open or close.
    is_loss = ask["rises"] == (ask["side"] == "buy")
    name = "stopLossPrice" if is_loss else "takeProfitPrice"
    if can.get("triggerPrice") is True and (is_loss or can.get("takeProfitPrice") is not True
                                            or can.get("triggerDirection") is True or acc.name in ("okx", "bybit")):
        name = "triggerPrice"
    elif can.get(name) is not True:
        raise Refused("NotSupported", f"{acc.name} takes no such stop by way of ccxt")
    params = {name: ask["stop"]}
    if name == "triggerPrice" and can.get("triggerDirection") is True:
        params["triggerDirection"] = "ascending" if ask["rises"] else "descending"
    return params


async def create(acc, ask, until):
    market = acc.market(ask["symbol"])
    kind, params = kind_of(market), {}
    amount = amount_of(acc, market, ask["amount"])
    price = price_of(acc, market, "price", ask["price"]) if ask["price"] is not None else None
    client = acc.form.theirs(ask["client"])
    if client:
        params["clientOrderId"] = client
    if ask["stop"] is not None:
        ask["stop"] = price_of(acc, market, "stop_price", ask["stop"])
        params.update(stop_params(acc, kind, ask))
    if acc.name == "coinbase":
        # ccxt makes an id of its own unless it is given by the exchange's name, and the same with the direction.
        params["client_order_id"] = params.pop("clientOrderId")
        if params.pop("triggerDirection", None):
            params["stop_direction"] = f"STOP_DIRECTION_STOP_{'UP' if ask['rises'] else 'DOWN'}"
    if ask["post_only"]:
        params["postOnly"] = True
    elif ask["tif"] not in (None, "GTC"):
        params["timeInForce"] = ask["tif"]
    if ask["reduce_only"]:
        params["reduceOnly"] = True
    if ask["margin"]:
        raise Refused("NotSupported", "spot is not traded with borrowed money by way of ccxt")
    if ask["position"] is not None:
        params["hedged"] = True
        # Against its own side an order closes.
        if (ask["position"] == "long") != (ask["side"] == "buy"):
            params["reduceOnly"] = True
    if kind == "spot" and ask["type"] == "market" and ask["side"] == "buy" and not await buys_by_base(acc, market):
        raise Refused("NotSupported", f"{acc.name} counts market orders that buy in quote units: "
                      "use a limit order with time_in_force IOC")
    with trip(until):
        try:
            order = await acc.ex.create_order(market["symbol"], ask["type"], ask["side"], amount, price, params)
        except ccxt.ExchangeError as error:
            why = re.search(r'"error_response":\{"error":"([A-Z_]+)"', str(error))
            if type(error) is ccxt.ExchangeError and why and not why.group(1).startswith("UNKNOWN"):
                # Coinbase; ccxt has no class for most of its refusals, which are ones all the same.
                raise Refused("OperationRejected", str(error)) from error
            raise
    order = {**order, "symbol": market["symbol"]}
    row = order_row(acc, order, ask["stop"] is not None and acc.apart(kind))
    # The answer may repeat what was asked for in another form: only where it stands is believed.
    keep = ("market", "symbol", "id", "status", "filled", "average", "trigger", "becomes", "amount", "type", "tif")
    row = {name: row[name] for name in keep if name in row}
    return acc.told(orders=[row])


def named(acc, ask, kind):
    """Id of an order for ccxt, and the parameters that it is canceled with."""
    waits = ask["is_stop"] and acc.apart(kind)
    if ask["id"] is None and ask["trigger_id"] is None:
        return "", {"clientOrderId": acc.form.theirs(ask["client"]), **({"trigger": True} if waits else {})}
    if ask["id"] is not None:
        return ask["id"], {}
    return ask["trigger_id"], {"trigger": True}


async def cancel(acc, ask, until):
    market = acc.market(ask["symbol"])
    name, params = named(acc, ask, kind_of(market))
    if not name and acc.name not in BY_CLIENT:
        # It can't be named by our id: it is looked for first.
        rows = (await find(acc, ask, until))["orders"]
        if not rows or not rows[-1]["id"]:
            raise Refused("OrderNotFound", "it is not among the orders of the account")
        name, params = rows[-1]["id"], ({"trigger": True} if rows[-1].get("trigger") else {})
    with trip():
        if not name and acc.name == "bybit":
            params = {"orderLinkId": params.pop("clientOrderId"), **params}
        try:
            await acc.ex.cancel_order(name or None, market["symbol"], params)
        except ccxt.BadRequest as error:
            if acc.name == "coinbase":
                # Whatever was wrong: where the order stands is asked for then.
                raise ccxt.OrderNotFound(str(error)) from error
            raise
    return acc.told()


async def amend(acc, ask, until):
    market = acc.market(ask["symbol"])
    if acc.name not in IN_PLACE or not acc.has("editOrder") or ask["id"] is None:
        raise Refused("NotSupported", f"{acc.name} does not amend in place")
    amount = amount_of(acc, market, ask["amount"])
    price = price_of(acc, market, "price", ask["price"]) if ask["price"] is not None else None
    with trip(until):
        await acc.ex.edit_order(ask["id"], market["symbol"], "limit", ask["side"], amount, price)
    return acc.told()


async def leverage(acc, ask, until):
    market = acc.market(ask["symbol"])
    if not acc.has("setLeverage"):
        raise Refused("NotSupported", f"{acc.name} sets no leverage by way of ccxt")
    try:
        with trip(until):
            await acc.ex.set_leverage(ask["leverage"], market["symbol"])
    except ccxt.ExchangeError as error:
        # Not all of ccxt's classes say that it is so already.
        if "not modified" not in str(error):
            raise
    return acc.told()


async def known(call):
    """What a question answers; None when the exchange has no such order."""
    try:
        return await call
    except ccxt.OrderNotFound:
        return None


async def by_id(acc, symbol, name, params):
    """Orders that the exchange knows by its own id."""
    ex = acc.ex
    if acc.name == "bybit":
        params = {"orderId": name, **params}
        rows = await ex.fetch_open_orders(symbol, None, None, params)
        return rows or await ex.fetch_canceled_and_closed_orders(symbol, None, None, params)
    if not acc.has("fetchOrder"):
        return []
    found = await known(ex.fetch_order(name, symbol, params))
    return [found] if found else []


async def bybit_by_client(acc, symbol, client, params):
    params = {"orderLinkId": client, **params}
    rows = await acc.ex.fetch_open_orders(symbol, None, None, params)
    return rows or await acc.ex.fetch_canceled_and_closed_orders(symbol, None, None, params)


async def fetch_by_client(acc, symbol, client, params):
    found = await known(acc.ex.fetch_order("", symbol, {"clientOrderId": client, **params}))
    return [found] if found else []


# Exchanges that are known to be asked for an order by our own id: only there "no" means that there is none.
BY_CLIENT = {"bybit": bybit_by_client, "okx": fetch_by_client, "binance": fetch_by_client,
             "binanceusdm": fetch_by_client}


async def listed(acc, symbol, kind, since, params):
    """Orders since a time, open and ended; whether these are all."""
    ex = acc.ex
    rows = list(await ex.fetch_open_orders(symbol, None, None, params))
    names = [("fetchOrders",), ("fetchCanceledAndClosedOrders",), ("fetchClosedOrders", "fetchCanceledOrders")]
    names = next((found for found in names if all(acc.has(name) for name in found)), None)
    is_all = names is not None
    for name in names or [name for name in ("fetchClosedOrders",) if acc.has(name)]:
        limit = acc.feature(kind, name).get("limit") or 100
        call = {"fetchOrders": ex.fetch_orders, "fetchClosedOrders": ex.fetch_closed_orders,
                "fetchCanceledOrders": ex.fetch_canceled_orders,
                "fetchCanceledAndClosedOrders": ex.fetch_canceled_and_closed_orders}[name]
        more = await call(symbol, since, limit, params)
        is_all = is_all and len(more) < limit
        rows.extend(more)
    return rows, is_all


async def find(acc, ask, until):
    """Where an order stands. Nothing in the answer: the exchange is known to have none."""
    market = acc.market(ask["symbol"])
    kind, symbol = kind_of(market), market["symbol"]
    waits = ask["is_stop"] and acc.apart(kind)
    client = acc.form.theirs(ask["client"])
    if ask["id"] is not None:
        rows = order_rows(acc, await by_id(acc, symbol, ask["id"], {}))
        if rows:
            return acc.told(orders=rows)
    if waits and ask["trigger_id"] is not None:
        rows = order_rows(acc, await by_id(acc, symbol, ask["trigger_id"], {"trigger": True}), True)
        became = next((row["becomes"] for row in rows if row.get("becomes")), None)
        if became:
            rows += order_rows(acc, await by_id(acc, symbol, became, {}))
        if rows:
            return acc.told(orders=rows)
    is_proven = False
    if acc.name in BY_CLIENT:
        for trigger in (True, False) if waits else (False,):
            params = {"trigger": True} if trigger else {}
            rows = order_rows(acc, await BY_CLIENT[acc.name](acc, symbol, client, params), trigger)
            if rows:
                became = next((row["becomes"] for row in rows if row.get("becomes")), None)
                if became:
                    rows += order_rows(acc, await by_id(acc, symbol, became, {}))
                return acc.told(orders=rows)
        is_proven = True
    since = max(0, ask["created"] - 60_000)
    if not is_proven:
        is_proven = acc.shows_clients
        for trigger in (False, True) if waits else (False,):
            rows, is_all = await listed(acc, symbol, kind, since, {"trigger": True} if trigger else {})
            is_proven = is_proven and is_all
            rows = order_rows(acc, rows, trigger)
            ids = {ask["id"], ask["trigger_id"]} - {None}
            rows = [row for row in rows if row["client"] == ask["client"] or row["id"] in ids]
            if rows:
                return acc.told(orders=rows)
        # Rows that came in just now may have been the first that show our ids.
        is_proven = is_proven and acc.shows_clients
    if not is_proven:
        raise Refused("Unprovable", f"{acc.name} can't be asked for it by our id, and its lists prove nothing")
    return acc.told(orders=[])


async def open_orders(acc, ask, until):
    kind = ask["market"]
    if kind not in acc.kinds():
        return acc.told(orders=[])
    can = acc.feature(kind, "fetchOpenOrders")
    if can.get("symbolRequired") is True:
        # Those that bookwire knows are asked for one by one.
        return acc.told(orders=[])
    rows = []
    for settle in SETTLED.get(acc.name, (None,)) if kind == "perp" else (None,):
        params = {**acc.of_kind(kind), **({"settleCoin": settle} if settle else {})}
        rows += order_rows(acc, await acc.ex.fetch_open_orders(None, None, can.get("limit"), params))
        if acc.apart(kind):
            params["trigger"] = True
            more = order_rows(acc, await acc.ex.fetch_open_orders(None, None, can.get("limit"), params), True)
            waiting = {row["id"] for row in more}
            rows = [row for row in rows if row["id"] not in waiting] + more
    return acc.told(orders=rows)


async def fills(acc, ask, until):
    market, ex = acc.market(ask["symbol"]), acc.ex
    symbol, name = market["symbol"], ask.get("id")
    if name and acc.has("fetchOrderTrades"):
        rows = await ex.fetch_order_trades(name, symbol)
    else:
        rows, since = [], ask["since"]
        limit = acc.feature(kind_of(market), "fetchMyTrades").get("limit") or 100
        seen = set()
        for _ in range(50):
            page = [row for row in await ex.fetch_my_trades(symbol, since, limit) if row["id"] not in seen]
            seen.update(row["id"] for row in page)
            rows += page
            if not page:
                break
            since = max(row["timestamp"] for row in page)
        if name:
            rows = [row for row in rows if row.get("order") in (None, name)]
    return acc.told(fills=fill_rows(acc, rows))


async def balances(acc, ask, until):
    if ask["market"] not in acc.kinds():
        return acc.told()
    found = await acc.ex.fetch_balance(acc.of_kind(ask["market"]))
    return acc.told(balances=balance_rows(acc, found, ask["market"]), all_balances=True)


async def held(acc):
    found = []
    for settle in SETTLED.get(acc.name, (None,)):
        found += await acc.ex.fetch_positions(None, {"settleCoin": settle} if settle else {})
    return position_rows(acc, found)


async def positions(acc, ask, until):
    if "perp" not in acc.kinds() or not acc.has("fetchPositions"):
        return acc.told()
    return acc.told(positions=await held(acc), all_positions=True)


async def mode(acc, ask, until):
    if "perp" not in acc.kinds():
        return acc.told(hedged=False)
    if acc.has("fetchPositionMode"):
        return acc.told(hedged=(await acc.ex.fetch_position_mode()).get("hedged") is True)
    if not acc.has("fetchPositions"):
        return acc.told()
    # By what a symbol's positions look like, though they are flat.
    symbol = next(one["symbol"] for one in acc.ex.markets.values() if kind_of(one) == "perp" and one.get("active"))
    found = await acc.ex.fetch_positions([symbol])
    return acc.told(hedged=any(one.get("hedged") for one in found) if found else None)


async def binance_rights(ex, kind):
    told = await ex.sapi_get_account_apirestrictions()
    trades = told["enableSpotAndMarginTrading"] if kind == "spot" else told["enableFutures"]
    return trades, told["enableWithdrawals"]


async def okx_rights(ex, kind):
    told = (await ex.private_get_account_config())["data"][0]
    words = [word.strip() for word in told["perm"].split(",")]
    # Accounts of the first level have spot alone.
    return "trade" in words and (kind == "spot" or str(told["acctLv"]) != "1"), "withdraw" in words


async def bybit_rights(ex, kind):
    told = (await ex.private_get_v5_user_query_api())["result"]
    may = told["permissions"]
    trades = ("SpotTrade" in may["Spot"] if kind == "spot"
              else "Order" in may["ContractTrade"] or "DerivativesTrade" in may["Derivatives"])
    return trades and str(told["readOnly"]) == "0", "Withdraw" in may["Wallet"]


async def coinbase_rights(ex, kind):
    told = await ex.v3_private_get_brokerage_key_permissions()
    # What may be transferred may be transferred away.
    return told["can_trade"], told["can_transfer"]


# Exchanges that are known to tell what a key may do. ccxt has no question of its own for that.
RIGHTS = {"binance": binance_rights, "binanceusdm": binance_rights, "okx": okx_rights, "okxus": okx_rights,
          "myokx": okx_rights, "bybit": bybit_rights, "coinbase": coinbase_rights}


async def rights(acc, kind):
    """What the key may do; None where that can't be told."""
    asks = RIGHTS.get(acc.name)
    if asks is None:
        return None
    try:
        trades, withdraws = await asks(acc.ex, kind)
    except ccxt.NotSupported:
        # Test networks have no such question.
        return None
    except (KeyError, IndexError, TypeError) as error:
        raise Refused("BadResponse", f"{acc.name} does not tell what the key may do in the way it did: {error!r}") from error
    if not (isinstance(trades, bool) and isinstance(withdraws, bool)):
        raise Refused("BadResponse", f"{acc.name} does not tell what the key may do in the way it did")
    return {"trade": trades, "withdraw": withdraws}


async def abilities(acc, ask, until):
    kind = ask["market"]
    can = acc.feature(kind, "createOrder")
    lasts = can.get("timeInForce") or {}
    stops = ("triggerPrice", "stopLossPrice")
    return acc.told(abilities=[{
        "market": kind, "market_orders": acc.ex.has.get("createMarketOrder") is not False,
        "stops": any(can.get(name) is True for name in stops),
        "ioc": lasts.get("IOC") is True, "fok": lasts.get("FOK") is True, "post_only": lasts.get("PO") is True,
        "reduce_only": acc.has("createReduceOnlyOrder"), "amend": acc.name in IN_PLACE and acc.has("editOrder"),
        "leverage": acc.has("setLeverage"), "hedged": can.get("hedged") is True,
        "client_lookup": acc.name in BY_CLIENT, "rights": await rights(acc, kind),
    }])


TRADED = {"create": create, "cancel": cancel, "amend": amend, "leverage": leverage, "find": find, "open": open_orders,
          "fills": fills, "balances": balances, "positions": positions, "mode": mode, "abilities": abilities}


async def on_account(request):
    if request.match_info["token"] != TOKEN:
        raise web.HTTPNotFound
    wanted = TRADED.get(request.match_info["what"])
    if wanted is None:
        raise web.HTTPNotFound
    acc = None
    try:
        asked = await request.json()
        acc = await account(request.match_info["exchange"], asked["key"])
        return web.json_response(await wanted(acc, asked["ask"], asked["until"]))
    except Exception as error:  # Also TypeError and the like from inside of ccxt.
        if acc is not None and isinstance(error, ccxt.InvalidNonce) and acc.ex.has.get("fetchTime"):
            # The clocks differ: the next request is stamped with the exchange's.
            with contextlib.suppress(Exception):
                await acc.ex.load_time_difference()
        state = getattr(error, "trip", None) or {"sent": False, "status": None}
        if acc is not None and isinstance(error, TypeError) and acc.ex.number is str:
            print(f"{acc.name}: numbers are floats from now on: {error}", file=sys.stderr)
            acc.ex.number = float
        shown = {**error_of(error), "sent": state["sent"], "status": state["status"]}
        status = 503 if isinstance(error, ccxt.OperationFailed) else 400
        return web.json_response({"error": shown}, status=status)


class Private:
    """bookwire's connection for an account's events."""

    def __init__(self, socket, acc, markets):
        self.socket, self.acc, self.markets = socket, acc, markets
        # Of its own: its end closes connections that nothing else may be waiting on.
        self.ex = acc.instance()
        self.asks = asyncio.Event()

    async def send(self, message):
        await self.socket.send_str(json.dumps(message, separators=(",", ":")))

    async def tell(self, **parts):
        if any(parts.values()):
            await self.send(self.acc.told(**parts))

    def kinds(self):
        return [kind for kind in self.markets if kind in self.acc.kinds()]

    async def orders(self, kind, trigger=False):
        acc = self.acc
        params = {**({} if kind is None else acc.of_kind(kind)), **({"trigger": True} if trigger else {})}
        while True:
            rows = order_rows(acc, await self.ex.watch_orders(None, None, None, params), trigger)
            await self.tell(orders=rows)
            if not acc.has("watchBalance") or ("perp" in self.kinds() and not acc.has("watchPositions")):
                self.asks.set()

    async def trades(self, kind):
        acc = self.acc
        while True:
            rows = await self.ex.watch_my_trades(None, None, None, {} if kind is None else acc.of_kind(kind))
            rows = fill_rows(acc, rows)
            for row in rows:
                if row["fee"] is not None:
                    row["fee"] = text(Decimal(row["fee"]) * PUSHED_FEES[acc.name])
            await self.tell(fills=rows)

    async def wallet(self, kind):
        acc = self.acc
        while True:
            found = await self.ex.watch_balance({} if kind is None else acc.of_kind(kind))
            await self.tell(balances=balance_rows(acc, found, kind or "spot"))

    async def held(self):
        while True:
            await self.tell(positions=position_rows(self.acc, await self.ex.watch_positions()))

    async def hints(self):
        """Says that everything should be asked for, when something is not pushed or may have been missed."""
        # What happened before the exchange had taken the subscriptions.
        await asyncio.sleep(2 * SETTLE)
        await self.send({"op": "ask"})
        while True:
            if self.acc.has("watchOrders"):
                await self.asks.wait()
                self.asks.clear()
                await asyncio.sleep(0.5)
            else:
                await asyncio.sleep(ASK_PAUSE)
            await self.send({"op": "ask"})

    def watches(self):
        acc, kinds = self.acc, self.kinds()
        apart = [None] if acc.name in ONE_STREAM or len(acc.kinds()) < 2 else kinds
        found = []
        if acc.has("watchOrders"):
            found += [self.orders(kind) for kind in apart]
            if acc.name == "okx":
                found += [self.orders(kind, True) for kind in apart]
        if acc.has("watchMyTrades") and acc.name in PUSHED_FEES:
            found += [self.trades(kind) for kind in apart]
        if acc.has("watchBalance"):
            found += [self.wallet(kind) for kind in ([None] if acc.name in ONE_WALLET else apart)]
        if acc.has("watchPositions") and "perp" in kinds:
            found.append(self.held())
        return found

    async def run(self):
        tasks = [asyncio.create_task(one) for one in self.watches()]
        try:
            end = time.monotonic() + 10
            while tasks and time.monotonic() < end and not any(task.done() for task in tasks):
                clients = list(self.ex.clients.values())
                if clients and all(client.connected.done() for client in clients):
                    break
                await asyncio.sleep(0.05)
            await asyncio.wait(tasks, timeout=SETTLE, return_when=asyncio.FIRST_COMPLETED) if tasks else None
            if not any(task.done() for task in tasks):
                await self.send({"op": "ready"})
                tasks.append(asyncio.create_task(self.hints()))
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await next(iter(done))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.ex.close()


async def on_private(request):
    if request.match_info["token"] != TOKEN:
        raise web.HTTPNotFound
    socket = web.WebSocketResponse(max_msg_size=1 << 20, compress=False, heartbeat=20)
    await socket.prepare(request)
    first = await socket.receive()
    if first.type is not WSMsgType.TEXT:
        return socket
    acc = None

    async def serve():
        nonlocal acc
        hello = json.loads(first.data)
        acc = await account(hello["exchange"], hello["key"])
        acc.links += 1
        await Private(socket, acc, hello["markets"]).run()

    serving = asyncio.create_task(serve())
    # Nothing more is asked on it; its end has to be noticed.
    ending = asyncio.create_task(socket.receive())
    await asyncio.wait([serving, ending], return_when=asyncio.FIRST_COMPLETED)
    serving.cancel()
    result = (await asyncio.gather(serving, return_exceptions=True))[0]
    ending.cancel()
    if acc is not None:
        acc.links -= 1
    if isinstance(result, Exception) and not socket.closed:
        with contextlib.suppress(ConnectionError, RuntimeError):
            await socket.send_str(json.dumps({"op": "lost", "error": error_of(result)}))
            await socket.close()
    return socket


ROUTES += [web.get("/{token}/private", on_private), web.post("/{token}/account/{exchange}/{what}", on_account)]


run()
