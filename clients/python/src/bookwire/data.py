"""Market data and the state of the gateway by REST."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from . import schemas
from .query import QueryCalls
from .values import Row, Words, words

if TYPE_CHECKING:
    import pandas as pd


class DataCalls(QueryCalls):
    """What ``/api/data`` and the public part of ``/api/crypto`` offer."""

    @overload
    def klines(
        self,
        provider: str,
        codes: Words,
        level: str = "1m",
        *,
        entity_type: Literal["cryptopair", "cryptoperp"] | None = None,
        as_frame: Literal[True] = True,
        **parameters: Any,
    ) -> pd.DataFrame: ...

    @overload
    def klines(
        self,
        provider: str,
        codes: Words,
        level: str = "1m",
        *,
        entity_type: Literal["cryptopair", "cryptoperp"] | None = None,
        as_frame: Literal[False],
        **parameters: Any,
    ) -> list[Row]: ...

    def klines(
        self,
        provider: str,
        codes: Words,
        level: str = "1m",
        *,
        entity_type: Literal["cryptopair", "cryptoperp"] | None = None,
        as_frame: bool = True,
        **parameters: Any,
    ) -> pd.DataFrame | list[Row]:
        """Closed bars; the index is each bar's open. Parameters as of :meth:`query`.

        ``volume`` is in the base asset, ``turnover`` in the quote asset, ``change_pct`` a fraction.

        Args:
            level: ``1m 5m 15m 30m 1h 4h 1d``.
            entity_type: spot or perpetual; by default what the spelling means
                (``btcusdt-perp`` is a perpetual).

        Raises:
            ValueError: no such level, or spot and perpetual in one call.
            BookwireError: as of :meth:`query`.
        """
        if level not in schemas.LEVELS:
            raise ValueError(f"level is one of {', '.join(schemas.LEVELS)}, not {level!r}")
        names = words(codes)
        if entity_type is None:
            kinds = {schemas.is_perp(name) for name in names}
            if len(kinds) > 1:
                raise ValueError("spot and perpetual are two schemas: ask for each by itself")
            entity_type = "cryptoperp" if True in kinds else "cryptopair"
        market = "Perp" if entity_type == "cryptoperp" else "Pair"
        schema = f"Crypto{market}{level}Kdata"
        if as_frame:
            return self.query(schema, provider, codes=names, as_frame=True, **parameters)
        return self.query(schema, provider, codes=names, as_frame=False, **parameters)

    @overload
    def trades(
        self, provider: str, codes: Words, *, as_frame: Literal[True] = True, **parameters: Any
    ) -> pd.DataFrame: ...

    @overload
    def trades(
        self, provider: str, codes: Words, *, as_frame: Literal[False], **parameters: Any
    ) -> list[Row]: ...

    def trades(
        self, provider: str, codes: Words, *, as_frame: bool = True, **parameters: Any
    ) -> pd.DataFrame | list[Row]:
        """Trades; ``side`` is the taker's. Parameters as of :meth:`query`, and ``side`` and
        ``min_volume``."""
        if as_frame:
            return self.query("CryptoTrade", provider, codes=codes, as_frame=True, **parameters)
        return self.query("CryptoTrade", provider, codes=codes, as_frame=False, **parameters)

    @overload
    def funding(
        self, provider: str, codes: Words, *, as_frame: Literal[True] = True, **parameters: Any
    ) -> pd.DataFrame: ...

    @overload
    def funding(
        self, provider: str, codes: Words, *, as_frame: Literal[False], **parameters: Any
    ) -> list[Row]: ...

    def funding(
        self, provider: str, codes: Words, *, as_frame: bool = True, **parameters: Any
    ) -> pd.DataFrame | list[Row]:
        """Funding of perpetuals, rates as fractions of an interval. Parameters as of
        :meth:`query`."""
        if as_frame:
            return self.query("CryptoFunding", provider, codes=codes, as_frame=True, **parameters)
        return self.query("CryptoFunding", provider, codes=codes, as_frame=False, **parameters)

    def orderbook(
        self,
        provider: str,
        code: str,
        depth: int = 20,
        *,
        exchange: str | None = None,
        decimal: bool = False,
    ) -> Row:
        """The live book of one instrument.

        Returns:
            The contract's object; ``bids`` and ``asks`` are lists of ``[price, volume]``, best
            first, at most `depth` (1 to 5000) a side.

        Raises:
            BookwireError: ``CRYPTO_ORDERBOOK_DESYNC`` while the book is not known to be right.
        """
        rows = self.query(
            "CryptoOrderbook",
            provider,
            codes=[code],
            exchange=exchange,
            decimal=decimal,
            as_frame=False,
            depth=depth,
        )
        return rows[0]

    def tickers(
        self, provider: str, codes: Words, *, exchange: str | None = None, decimal: bool = False
    ) -> pd.DataFrame:
        """Best bid and ask of live books, a row each: ``entity_id best_bid best_ask mid_price
        spread``, indexed by the time of the book."""
        return self.query(
            "CryptoOrderbook",
            provider,
            codes=codes,
            exchange=exchange,
            columns=["entity_id", "best_bid", "best_ask", "mid_price", "spread"],
            decimal=decimal,
            depth=1,
        )

    def providers(self) -> dict[str, list[str]]:
        """Providers by asset class: ``{"crypto": ["binance", …], …}``."""
        found: dict[str, list[str]] = self._get("/api/data/providers")
        return found

    def schemas(self, provider: str) -> dict[str, list[str]]:
        """What a provider really offers: ``entity_schemas kdata_schemas tick_schemas``."""
        found: dict[str, list[str]] = self._get("/api/data/schemas", {"provider": provider})
        return found

    def capabilities(self) -> dict[str, Any]:
        """What each provider can do, order types and rate limits included."""
        found: dict[str, Any] = self._get("/api/crypto/providers/capabilities")
        return found

    def status(self) -> list[Row]:
        """How each provider is, measured: ``status api_latency_ms websocket_connected …``."""
        found: list[Row] = self._get("/api/crypto/providers/status")["providers"]
        return found

    def health(self) -> dict[str, Any]:
        """``status`` (``healthy degraded unhealthy``) and its ``checks``. Unhealthy is an answer
        too, no error."""
        found: dict[str, Any] = self._call("GET", "/api/crypto/health", accepted=(503,))
        return found
