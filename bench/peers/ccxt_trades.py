"""ccxt.pro as a subscriber of one symbol's trades: when did each arrive?

Arguments: base URL of REST, base URL of the streams, number of the last trade. On standard output
afterwards: the library's version on the first line, then a line for each trade, its number and the
wall clock in nanoseconds.
"""

import asyncio
import sys
import time

import ccxt.pro

REST, STREAM, LAST = sys.argv[1], sys.argv[2], int(sys.argv[3])


def local(node):
    """Every URL with the local host in place of the exchange's; the path stays."""
    if isinstance(node, dict):
        return {key: local(value) for key, value in node.items()}
    if not isinstance(node, str) or "://" not in node:
        return node
    scheme, rest = node.split("://", 1)
    path = rest[rest.index("/") :] if "/" in rest else ""
    return (STREAM if scheme.startswith("ws") else REST) + path


async def run(seen):
    exchange = ccxt.pro.binance(
        {"enableRateLimit": False, "newUpdates": True, "options": {"tradesLimit": 100000}}
    )
    exchange.urls["api"] = local(exchange.urls["api"])
    exchange.has["fetchCurrencies"] = False
    exchange.options["fetchMarkets"] = {"types": ["spot"]}
    exchange.options["fetchMargins"] = False
    try:
        await exchange.load_markets()
        last = 0
        while last < LAST:
            trades = await exchange.watch_trades("BTC/USDT")
            now = time.time_ns()
            for trade in trades:
                last = int(trade["id"])
                seen.append((last, now))
    finally:
        await exchange.close()


def main():
    # As its own documents advise those who need speed.
    import uvloop

    seen = []
    uvloop.run(run(seen))
    lines = [f"ccxt.pro {ccxt.pro.__version__}"]
    lines += [f"{number} {at}" for number, at in seen]
    sys.stdout.write("\n".join(lines) + "\n")


main()
