"""The schemas of ``GET /api/data/{schema}``: their columns, and how their rows are walked."""

from __future__ import annotations

#: Lists of instruments: answered in pages.
ENTITIES = frozenset({"CryptoAsset", "CryptoPair", "CryptoPerp"})

#: Rows of a request, within what a schema allows (`ROWS_MAX`).
CHUNK = 5_000

#: Most rows that one request may ask for.
ROWS_MAX = 10_000

#: What `limit` is when neither it nor a start is given: the contract's default.
LIMIT_DEFAULT = 1_000

LEVELS = ("1m", "5m", "15m", "30m", "1h", "4h", "1d")

_KDATA = (
    "id entity_id timestamp provider code name level open high low close volume turnover "
    "volume_base volume_quote trade_count vwap change_pct turnover_rate"
)

_COLUMNS = {
    "CryptoAsset": "id entity_id entity_type exchange code name",
    "CryptoTrade": (
        "id entity_id timestamp provider code trade_id price volume side is_buyer_maker"
    ),
    "CryptoFunding": (
        "id entity_id timestamp provider code funding_rate predicted_rate "
        "funding_interval_hours mark_price index_price next_funding_timestamp"
    ),
    "CryptoOrderbook": (
        "id entity_id timestamp provider code sequence best_bid best_ask mid_price spread bids asks"
    ),
}


def is_series(schema: str) -> bool:
    """Whether rows have times and row ids, so that they can be walked along."""
    return schema in ("CryptoTrade", "CryptoFunding", "CryptoOrderbook") or is_kdata(schema)


def is_kdata(schema: str) -> bool:
    """Whether rows are bars."""
    return schema.startswith(("CryptoPair", "CryptoPerp")) and schema.endswith("Kdata")


def columns(schema: str) -> list[str]:
    """Columns of a schema, for frames without rows; empty where they are not known."""
    return (_KDATA if is_kdata(schema) else _COLUMNS.get(schema, "")).split()


def is_perp(code: str) -> bool:
    """Whether a spelling means the perpetual."""
    text = code.lower()
    return text.startswith("cryptoperp_") or text.endswith(("-perp", "-swap")) or ":" in text
