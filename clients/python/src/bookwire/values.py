"""Values in and out: amounts, times, lists, exact decimals."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from datetime import date, datetime, timezone
from decimal import Decimal, InvalidOperation
from typing import Any, SupportsIndex, TypeAlias

#: An object of an answer, its fields named as in the contract.
Row: TypeAlias = dict[str, Any]

#: Money, a price or a quantity. Never a float: 0.1 + 0.2 is not what anybody wants to buy.
Amount: TypeAlias = str | Decimal | SupportsIndex

#: RFC 3339, a date, a datetime (UTC unless it has an offset), or epoch s, ms, us or ns.
Time: TypeAlias = str | date | datetime | SupportsIndex

#: One word or several.
Words: TypeAlias = str | Iterable[str]

#: Fields that are exact decimals, of all rows and messages.
DECIMAL_FIELDS = frozenset(
    """
    open high low close volume turnover volume_base volume_quote vwap change_pct turnover_rate
    price price_step qty_step min_notional maker_fee taker_fee min_qty max_qty contract_size
    funding_rate predicted_rate mark_price index_price
    best_bid best_ask best_bid_volume best_ask_volume mid_price spread
    quantity stop_price filled_quantity remaining_quantity average_price fee leverage
    entry_price unrealized_pnl margin margin_ratio funding_cost liquidation_price
    free locked total
    """.split()
)

#: Fields with levels of a book, ``[[price, volume], …]``.
BOOK_SIDES = frozenset({"bids", "asks"})


def amount(name: str, value: Amount | None) -> str | None:
    """An amount as the text that is sent: plain digits, no exponent.

    Raises:
        TypeError: a float, or nothing that is a number.
        ValueError: a text that is no finite number.
    """
    if value is None:
        return None
    if isinstance(value, (float, bool)):
        raise TypeError(
            f"{name} is a {type(value).__name__}, which is not exact: pass a str or a Decimal"
        )
    if isinstance(value, str):
        try:
            number = Decimal(value)
        except InvalidOperation:
            raise ValueError(f"{name} is not a number: {value!r}") from None
    elif isinstance(value, Decimal):
        number = value
    else:
        try:
            number = Decimal(operator.index(value))
        except TypeError:
            kind = type(value).__name__
            raise TypeError(f"{name} is a {kind}: pass a str, a Decimal or an int") from None
    if not number.is_finite():
        raise ValueError(f"{name} is not finite: {value!r}")
    return format(number, "f")


def instant(name: str, value: Time | None) -> str | None:
    """An instant as the text that is sent.

    Raises:
        TypeError: none of the accepted forms; a float cannot hold nanoseconds.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        return aware.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if not isinstance(value, (float, bool)):
        try:
            return str(operator.index(value))
        except TypeError:
            pass
    kind = type(value).__name__
    raise TypeError(f"{name} is a {kind}: pass a datetime, a date, a str or an int")


def words(value: Words | None) -> list[str]:
    """One word, several, or words between commas, as a list."""
    if value is None:
        return []
    items = value.split(",") if isinstance(value, str) else list(value)
    return [item.strip() for item in items if item.strip()]


def parameter(value: object) -> str:
    """Any other query parameter as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return instant("", value) or ""
    if isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(parameter(item) for item in value)
    return str(value)


def _exact(value: object) -> object:
    return Decimal(value) if isinstance(value, (str, int)) else value


def exact(value: Any) -> Any:
    """The same object with its numbers as :class:`~decimal.Decimal`, all levels down.

    It has to come from ``numbers=string``: from a float nothing exact can be made any more.
    """
    if isinstance(value, list):
        return [exact(item) for item in value]
    if not isinstance(value, dict):
        return value
    found: Row = {}
    for name, item in value.items():
        if name in BOOK_SIDES and isinstance(item, list):
            found[name] = [[_exact(price), _exact(volume)] for price, volume in item]
        elif name in DECIMAL_FIELDS and not isinstance(item, bool):
            found[name] = _exact(item)
        else:
            found[name] = exact(item)
    return found
