"""What the program behind provider `ccxt` sends of an order, and what it never sends: exchanges of ccxt
against a server that notes what comes and answers as it is told.

Arguments: the files of the program, in their order. Prints one line of JSON with what was seen, and ends
with another status than 0 when something is wrong.
"""
import asyncio
import io
import json
import sys
import traceback
from types import SimpleNamespace
from urllib.parse import unquote

SECRET = "canary/secret+1234567890=="
KEY = {"key": "canary-name-123", "secret": SECRET, "passphrase": "canary-third-456"}
# Sums and digits that no binary float has, and more digits than one holds.
PRICES = ["60000.3", "0.30000001", "12345678.12345678"]
AMOUNTS = ["0.00000003", "0.12345678", "123456789.12345678"]
EXCHANGES = ["bybit", "okx", "binance", "kraken", "kucoin", "gate", "bitget", "mexc"]

setup = {"token": "t", "hosts": {}, "options": {"bybit": {"options": {"maxRetriesOnFailure": 3}}}}
sys.stdin = SimpleNamespace(buffer=io.BytesIO(json.dumps(setup).encode() + b"\n"))
text_of = "".join(open(path).read() for path in sys.argv[1:])
program = {"__name__": "program"}
# Everything but its last line, which serves.
exec(compile(text_of[:text_of.rindex("run()")], "program", "exec"), program)
P = SimpleNamespace(**program)
log = io.StringIO()
sys.stderr.stream = log

market = {
    "id": "BTCUSDT", "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "baseId": "BTC", "quoteId": "USDT",
    "spot": True, "type": "spot", "contract": False, "swap": False, "active": True, "linear": None, "inverse": None,
    "margin": False, "option": False, "future": False, "precision": {"amount": "0.00000001", "price": "0.00000001"},
    "limits": {"amount": {}, "price": {}, "cost": {}, "leverage": {}},
    "info": {"orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"]},
}


class Server:
    """An exchange that notes and does as it is told."""

    def __init__(self):
        self.seen, self.answer = [], lambda request: None

    async def start(self):
        app = P.web.Application()
        app.router.add_route("*", "/{path:.*}", self.serve)
        self.runner = P.web.AppRunner(app)
        await self.runner.setup()
        site = P.web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self.runner.addresses[0][1]}"

    async def serve(self, request):
        body = (await request.read()).decode()
        if request.method != "GET":
            self.seen.append(unquote(f"{request.path_qs} {body}"))
        answer = self.answer(request)
        if answer is None:
            # The connection ends without an answer.
            request.transport.close()
            return P.web.Response()
        return P.web.json_response(answer)


async def account(name, base):
    """An account whose exchange lives at `base`."""
    program["repoint"] = lambda node, hostname: (
        {key: program["repoint"](value, hostname) for key, value in node.items()} if isinstance(node, dict)
        else base if isinstance(node, str) else node)
    acc = P.Account(P.Venue(name), KEY)
    acc.ex.set_markets([{**market, "taker": "0.001", "maker": "0.001"}])
    acc.ex.precisionMode = P.ccxt.TICK_SIZE
    acc.ex.options.update(enableUnifiedMargin=False, enableUnifiedAccount=True, uta=False, accountsByType={})
    return acc


def ask(price, amount, client="bw0000000000000000000000000z"):
    return {"symbol": "BTC/USDT", "client": client, "side": "buy", "type": "limit", "amount": amount, "price": price,
            "stop": None, "rises": None, "tif": "GTC", "post_only": False, "reduce_only": False, "margin": False,
            "position": None}


async def placed(acc, *what, until=None):
    """The error that placing it ends in."""
    try:
        await P.create(acc, ask(*what), until)
    except Exception as error:
        return error, getattr(error, "trip", None)
    return None, None


async def main():
    server = Server()
    base = await server.start()
    told = {}
    for name in EXCHANGES:
        acc = await account(name, base)
        for price, amount in zip(PRICES, AMOUNTS):
            server.seen.clear()
            error, trip = await placed(acc, price, amount)
            orders = [line for line in server.seen if amount in line]
            assert len(orders) == 1 and price in orders[0], (name, price, amount, server.seen, repr(error))
            assert len(server.seen) == 1, (name, "sent more than once", server.seen)
            # No answer: nobody knows.
            assert isinstance(error, P.ccxt.NetworkError) and trip["sent"], (name, repr(error))
            assert SECRET not in str(P.error_of(error)), name
        # An amount that ccxt would round is refused before anything is sent.
        server.seen.clear()
        error, trip = await placed(acc, "1.000000001", "1")
        assert error.name == "OffStep" and not server.seen, (name, repr(error))
        error, trip = await placed(acc, "1", "1", until=1)
        assert error.name == "TooLate" and not trip["sent"] and not server.seen, (name, repr(error))
        # Ids of ours come back as they were.
        client = "bw01j9zzzzzzzzzzzzzzzzzzzzzz"
        there = acc.form.theirs(client)
        assert acc.form.ours("t-" + there if name == "gate" else there) == client, (name, there)
        told[name] = there
        await acc.ex.close()
        await acc.venue.ex.close()
    # ccxt is told by the configuration to try again: the second request does not leave.
    acc = await account("bybit", base)
    acc.ex.options["maxRetriesOnFailure"] = 3
    server.seen.clear()
    error, trip = await placed(acc, "1", "1")
    assert len(server.seen) == 1 and trip["sent"], (server.seen, repr(error))
    await acc.ex.close()
    # Nobody listens: it was never sent.
    acc = await account("bybit", "http://127.0.0.1:1")
    error, trip = await placed(acc, "1", "1")
    assert isinstance(error, P.ccxt.NetworkError) and not trip["sent"], repr(error)
    await acc.ex.close()
    # What would show a key shows none: in errors, in the log, in whatever form.
    for form in P.shown_forms(SECRET) | {KEY["key"], KEY["passphrase"]}:
        shown = P.error_of(P.ccxt.ExchangeError(f"GET https://x/y?apiKey={form}&z=1 {form}"))["message"]
        assert form not in shown, shown
        print(f"a line with {form}", file=sys.stderr)
    assert "canary" not in log.getvalue(), log.getvalue()
    # A key that lacks a part says which.
    try:
        P.given(P.Venue("okx").ex, {"key": "a", "secret": "b", "passphrase": None})
    except P.Refused as error:
        assert error.name == "BadKey" and "password" in str(error)
    else:
        raise AssertionError("a key without its passphrase was taken")
    await server.runner.cleanup()
    # The program's own way out: what prints otherwise goes to the log.
    P.LINE.write(json.dumps(told) + "\n")
    P.LINE.flush()


try:
    asyncio.run(main())
except BaseException:
    traceback.print_exc(file=sys.__stderr__)
    P.os._exit(1)
P.os._exit(0)
