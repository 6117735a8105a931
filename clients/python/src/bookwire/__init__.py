"""Client of bookwire, a low-latency gateway to crypto exchanges.

    from bookwire import Client

    c = Client()
    df = c.klines("binance", "btcusdt", "1m", limit=1440)

Start reading at :class:`Client`; the WebSocket feed is :class:`Feed`.
"""

from .client import Client
from .errors import BookwireError, BookwireWarning
from .feed import Feed
from .sequence import Gap

__all__ = ["BookwireError", "BookwireWarning", "Client", "Feed", "Gap"]
__version__ = "0.1.0"
