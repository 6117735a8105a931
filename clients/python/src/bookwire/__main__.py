"""``python -m bookwire``: rows and messages as lines of JSON.

A key is read from ``BOOKWIRE_KEY``, never from an argument, which other users could see.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from contextlib import aclosing

from .client import Client
from .errors import BookwireError
from .rest import DEFAULT_URL


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bookwire", description=__doc__)
    parser.add_argument("--url", default=os.environ.get("BOOKWIRE_URL", DEFAULT_URL))
    commands = parser.add_subparsers(dest="command", required=True)
    klines = commands.add_parser("klines", help="closed bars")
    klines.add_argument("provider")
    klines.add_argument("codes", help="one or several, separated by commas")
    klines.add_argument("level", nargs="?", default="1m")
    klines.add_argument("--limit", type=int)
    klines.add_argument("--start", help="a time, inclusive")
    klines.add_argument("--end", help="a time, inclusive")
    stream = commands.add_parser("stream", help="messages until Ctrl-C")
    stream.add_argument("stream", help="crypto.trades, crypto.klines, crypto.orderbook, …")
    stream.add_argument("provider")
    stream.add_argument("symbols", nargs="*")
    stream.add_argument("--interval", help="of crypto.klines")
    stream.add_argument("--depth", type=int, help="of crypto.orderbook")
    stream.add_argument("--count", type=int, help="ends after so many messages")
    return parser.parse_args()


async def _stream(client: Client, asked: argparse.Namespace) -> None:
    messages = client.stream(
        asked.stream,
        provider=asked.provider,
        symbols=asked.symbols,
        interval=asked.interval,
        depth=asked.depth,
    )
    count = 0
    async with aclosing(messages):
        async for message in messages:
            print(json.dumps(message), flush=True)
            count += 1
            if count == asked.count:
                return


def main() -> int:
    """Runs the command; 0, 1 when it failed, 2 when it was used wrongly."""
    asked = _arguments()
    try:
        client = Client(asked.url, key=os.environ.get("BOOKWIRE_KEY"))
        if asked.command == "stream":
            asyncio.run(_stream(client, asked))
        else:
            rows = client.klines(
                asked.provider,
                asked.codes,
                asked.level,
                limit=asked.limit,
                start_timestamp=asked.start,
                end_timestamp=asked.end,
                as_frame=False,
            )
            for row in rows:
                print(json.dumps(row))
    except BookwireError as error:
        print(error, file=sys.stderr)
        return 1
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        # Whoever read has what it wanted; nothing is left to flush into.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
