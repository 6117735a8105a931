"""ccxt and ccxt.pro as clients of the exchange simulators.

Reads one JSON object per line on standard input, `{"call": name, ...}`, and answers each with one
JSON line. ccxt works against the real exchanges, so what works here is the exchange's protocol.
"""

import asyncio
import json
import os
import re
import sys

# ccxt prints some notices to standard output; only answers may go there.
answers = os.fdopen(os.dup(1), "wb", 0)
os.dup2(2, 1)

import ccxt.pro  # noqa: E402


def repoint(node, hosts, hostname):
    """Replaces scheme and host of every URL whose host has a local address; keeps the path."""
    if isinstance(node, dict):
        return {key: repoint(value, hosts, hostname) for key, value in node.items()}
    if isinstance(node, str):
        node = node.replace("{hostname}", hostname)
    match = re.match(r"^(?:https?|wss?)://([^/]+)(.*)$", node) if isinstance(node, str) else None
    if match is None or match.group(1) not in hosts:
        return node
    return hosts[match.group(1)] + match.group(2)


# The markets that are asked for, in each exchange's own words.
TYPES = {
    "binance": ["spot"],
    "binanceusdm": ["linear"],
    "okx": ["spot", "swap"],
    "bybit": ["spot", "linear"],
    "coinbase": ["spot"],
}


# Single trades, as the spot stream has them; the answers are aggregates otherwise.
OPTIONS = {
    "binance": {"fetchTradesMethod": "publicGetTrades"},
    # Balances with what is held back of them.
    "coinbase": {"fetchBalance": "v3PrivateGetBrokerageAccounts"},
}

# ccxt fills their watched books with numbers of the chosen type, and can only sort doubles.
DOUBLES = {"coinbase"}


def make(exchange_id, hosts, keys=None):
    exchange = getattr(ccxt.pro, exchange_id)(
        {
            **({"apiKey": keys["api_key"], "secret": keys["secret"]} if keys else {}),
            **({"password": keys["passphrase"]} if keys and "passphrase" in keys else {}),
            "number": float if exchange_id in DOUBLES else str,
            "enableRateLimit": False,
            "options": {"tradesLimit": 100000, **OPTIONS.get(exchange_id, {})},
        }
    )
    hostname = getattr(exchange, "hostname", None) or ""
    exchange.urls["api"] = repoint(exchange.urls["api"], hosts, hostname)
    exchange.options["fetchMarkets"] = {"types": TYPES[exchange_id]}
    if not keys:
        # Without keys ccxt asks for nothing more than the markets themselves.
        exchange.has["fetchCurrencies"] = False
        exchange.options["fetchMargins"] = False
    return exchange


async def serve():
    exchanges = {}
    watches = {}
    loop = asyncio.get_running_loop()
    # What is watched has to go on while nothing is asked.
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        request = json.loads(line)
        try:
            if request["call"] == "open" and request["exchange"] in exchanges:
                value = len(exchanges[request["exchange"]].markets)
            elif request["call"] == "open":
                exchange = make(request["exchange"], request["hosts"], request.get("keys"))
                exchanges[request["exchange"]] = exchange
                value = len(await exchange.load_markets())
            elif request["call"] == "markets":
                value = list(exchanges[request["exchange"]].markets.values())
            elif request["call"] == "watch":
                seen = watches[request["exchange"], request["method"]] = []
                method = getattr(exchanges[request["exchange"]], request["method"])
                seen.append(asyncio.create_task(watch(method, request["args"], seen)))
                value = True
            elif request["call"] == "watched":
                seen = watches[request["exchange"], request["method"]]
                if seen[0].done():
                    seen[0].result()
                value = seen[1:]
            elif request["call"] == "close":
                for seen in watches.values():
                    seen[0].cancel()
                watches.clear()
                for exchange in exchanges.values():
                    await exchange.close()
                exchanges.clear()
                value = True
            elif request["call"] == "collect":
                value = await collect(exchanges[request["exchange"]], request)
            else:
                method = getattr(exchanges[request["exchange"]], request["call"])
                value = await asyncio.wait_for(method(*request.get("args", [])), 20)
            answer = {"value": value}
        except Exception as error:  # the test decides what an error means
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer, default=str).encode() + b"\n")


async def watch(method, args, seen):
    """Calls a watch method for good; appends each answer's copy."""
    while True:
        seen.append(json.loads(json.dumps(await method(*args), default=str)))


async def collect(exchange, request):
    """Calls a watch method repeatedly for some seconds; returns each answer's copy.

    Of books no more than so many levels, where the request has a number of them."""
    method = getattr(exchange, request["method"])
    found = []
    end = asyncio.get_running_loop().time() + request["seconds"]
    while (left := end - asyncio.get_running_loop().time()) > 0:
        try:
            got = await asyncio.wait_for(method(*request["args"]), left)
        except asyncio.TimeoutError:
            break
        if "levels" in request:
            got = {**got, **{side: got[side][: request["levels"]] for side in ("bids", "asks")}}
        found.append(json.loads(json.dumps(got, default=str)))
    return found


asyncio.run(serve())
