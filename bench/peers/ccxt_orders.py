"""ccxt as a client that places an order and cancels it, again and again.

Arguments: `sync` or `async`, base URL of the exchange, number of the first order, how many, requests a
second, price of order 0 in cents, quantity. On standard output afterwards: the library's version on the
first line, then a line for each request: the order's number, 0 for placed and 1 for canceled, when it
was due and when its answer was there, both by the wall clock in nanoseconds.
"""

import asyncio
import sys
import time

KIND, BASE = sys.argv[1], sys.argv[2]
FIRST, ORDERS, RATE, CENTS = (int(text) for text in sys.argv[3:7])
QUANTITY = sys.argv[7]
# A sleep comes back this much too late at most: the rest is waited for without one.
SLEEP_ERROR_NS = 150_000

if KIND == "async":
    import ccxt.async_support as ccxt
else:
    import ccxt


def local(node):
    """Every URL with the local host in place of the exchange's; the path stays."""
    if isinstance(node, dict):
        return {key: local(value) for key, value in node.items()}
    if not isinstance(node, str) or "://" not in node:
        return node
    rest = node.split("://", 1)[1]
    return BASE + (rest[rest.index("/") :] if "/" in rest else "")


def make():
    exchange = ccxt.binance({"apiKey": "bench", "secret": "bench", "enableRateLimit": False})
    exchange.urls["api"] = local(exchange.urls["api"])
    exchange.has["fetchCurrencies"] = False
    exchange.options["fetchMarkets"] = {"types": ["spot"]}
    exchange.options["fetchMargins"] = False
    return exchange


def price(number):
    cents = CENTS + number
    return f"{cents // 100}.{cents % 100:02}"


def dues():
    start = time.time_ns() + 5_000_000
    for index in range(2 * ORDERS):
        yield FIRST + index // 2, index % 2, start + index * 1_000_000_000 // RATE


def spin(due):
    while time.time_ns() < due:
        pass


def sleep_of(due):
    return max(0, due - time.time_ns() - SLEEP_ERROR_NS) / 1e9


def run_sync(seen):
    exchange = make()
    exchange.load_markets()
    order = None
    for number, is_cancel, due in dues():
        time.sleep(sleep_of(due))
        spin(due)
        if is_cancel:
            exchange.cancel_order(order, "BTC/USDT")
        else:
            order = exchange.create_order("BTC/USDT", "limit", "buy", QUANTITY, price(number))["id"]
        seen.append((number, is_cancel, due, time.time_ns()))


async def run_async(seen):
    exchange = make()
    try:
        await exchange.load_markets()
        order = None
        for number, is_cancel, due in dues():
            await asyncio.sleep(sleep_of(due))
            spin(due)
            if is_cancel:
                await exchange.cancel_order(order, "BTC/USDT")
            else:
                placed = await exchange.create_order(
                    "BTC/USDT", "limit", "buy", QUANTITY, price(number)
                )
                order = placed["id"]
            seen.append((number, is_cancel, due, time.time_ns()))
    finally:
        await exchange.close()


def main():
    seen = []
    if KIND == "async":
        # As its own documents advise those who need speed.
        import uvloop

        uvloop.run(run_async(seen))
    else:
        run_sync(seen)
    lines = [f"ccxt {ccxt.__version__} ({KIND})"]
    lines += [" ".join(map(str, row)) for row in seen]
    sys.stdout.write("\n".join(lines) + "\n")


main()
