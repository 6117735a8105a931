"""cryptofeed as a subscriber of one symbol's trades: when did each arrive?

Arguments and output as those of `ccxt_trades.py`. Its Binance adapter knows aggregated trades alone;
so that it reads the same bytes as everybody else here, a parsed trade is renamed to what it expects,
which costs two entries of a dictionary.
"""

import asyncio
import os
import sys
import time
from importlib.metadata import version

import cryptofeed.exchanges.binance as adapter
import uvloop
from cryptofeed import FeedHandler, feed
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint, WSAsyncConn
from cryptofeed.defines import TRADES
from cryptofeed.exchanges import Binance

REST, STREAM, LAST = sys.argv[1], sys.argv[2], int(sys.argv[3])

parser = adapter.json


class Renamed:
    """The adapter's JSON parser, with trades under the aggregates' name."""

    @staticmethod
    def loads(text, **options):
        message = parser.loads(text, **options)
        data = message.get("data")
        if data is not None and data.get("e") == "trade":
            data["e"] = "aggTrade"
            data["a"] = data["t"]
        return message

    dumps = staticmethod(parser.dumps)


class Plain(WSAsyncConn):
    """It takes no other addresses than those with TLS; nobody here has TLS."""

    async def _open(self):
        self.address = self.address.replace("wss://", "ws://", 1)
        await super()._open()


feed.WSAsyncConn = Plain
adapter.json = Renamed
Binance.websocket_channels = {**Binance.websocket_channels, TRADES: "trade"}
Binance.websocket_endpoints = [WebsocketEndpoint(STREAM.replace("ws://", "wss://", 1))]
Binance.rest_endpoints = [
    RestEndpoint(REST, routes=Routes("/api/v3/exchangeInfo", l2book="/api/v3/depth?symbol={}&limit={}"))
]

seen = []


def finish():
    lines = [f"cryptofeed {version('cryptofeed')}"]
    lines += [f"{number} {at}" for number, at in seen]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    # Its handler has no way to stop from inside of a callback.
    os._exit(0)


async def on_trade(trade, _receipt):
    number = int(trade.id)
    seen.append((number, time.time_ns()))
    if number >= LAST:
        finish()


def main():
    handler = FeedHandler(config={"uvloop": True, "log": {"filename": os.devnull, "level": "ERROR"}})
    handler.add_feed(Binance(symbols=["BTC-USDT"], channels=[TRADES], callbacks={TRADES: on_trade}))
    # It asks for the thread's loop, and has just changed the policy that would have made one.
    asyncio.set_event_loop(uvloop.new_event_loop())
    handler.run()


main()
