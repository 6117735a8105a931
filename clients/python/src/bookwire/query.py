"""Rows of any schema: asked for, walked along, put into a frame."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal, overload

from . import schemas
from .errors import UNEXPECTED_ANSWER, BookwireError, BookwireWarning
from .frames import frame
from .rest import Rest
from .values import Row, Time, Words, exact, instant, parameter, words

if TYPE_CHECKING:
    import pandas as pd


class QueryCalls(Rest):
    """The generic ``GET /api/data/{schema}``."""

    @overload
    def query(
        self,
        schema: str,
        provider: str | None = None,
        *,
        codes: Words | None = None,
        entity_ids: Words | None = None,
        exchange: str | None = None,
        start_timestamp: Time | None = None,
        end_timestamp: Time | None = None,
        limit: int | None = None,
        order: Literal["timestamp_asc", "timestamp_desc"] | None = None,
        columns: Words | None = None,
        decimal: bool = False,
        as_frame: Literal[True] = True,
        **filters: Any,
    ) -> pd.DataFrame: ...

    @overload
    def query(
        self,
        schema: str,
        provider: str | None = None,
        *,
        codes: Words | None = None,
        entity_ids: Words | None = None,
        exchange: str | None = None,
        start_timestamp: Time | None = None,
        end_timestamp: Time | None = None,
        limit: int | None = None,
        order: Literal["timestamp_asc", "timestamp_desc"] | None = None,
        columns: Words | None = None,
        decimal: bool = False,
        as_frame: Literal[False],
        **filters: Any,
    ) -> list[Row]: ...

    def query(
        self,
        schema: str,
        provider: str | None = None,
        *,
        codes: Words | None = None,
        entity_ids: Words | None = None,
        exchange: str | None = None,
        start_timestamp: Time | None = None,
        end_timestamp: Time | None = None,
        limit: int | None = None,
        order: Literal["timestamp_asc", "timestamp_desc"] | None = None,
        columns: Words | None = None,
        decimal: bool = False,
        as_frame: bool = True,
        **filters: Any,
    ) -> pd.DataFrame | list[Row]:
        """Rows of any schema: ``GET /api/data/{schema}``, as many requests as it takes.

        Args:
            schema: ``CryptoPair1mKdata``, ``CryptoTrade``, ``CryptoPair``, …
            provider: source of the data; may be left out for lists of instruments.
            codes: one or several, in any accepted spelling (``btcusdt``, ``BTC/USDT``).
            start_timestamp, end_timestamp: both inclusive; without an offset UTC.
            limit: most rows in all, however many. ``None``: every row from the start on; without
                a start the latest 1000, and of instruments up to 10000.
            order: without a start the latest `limit` rows are meant, in either order.
            columns: only these. Frames of series have their times in the index anyway.
            decimal: exact `decimal.Decimal` instead of floats.
            as_frame: a frame, or rows as they came, null as ``None``, times as text.
            filters: the schema's other parameters: ``side``, ``min_volume``, ``depth``,
                ``quote_symbols``, …

        Returns:
            A frame with the contract's columns; series are indexed by ``timestamp`` (UTC).

        Raises:
            BookwireError: an error of the gateway, or none of its answers.

        Warns:
            BookwireWarning: some of the codes do not exist; the rows are those of the others.
        """
        asked = {
            "provider": provider,
            "exchange": exchange,
            "codes": ",".join(words(codes)),
            "entity_ids": ",".join(words(entity_ids)),
            "start_timestamp": instant("start_timestamp", start_timestamp),
            "end_timestamp": instant("end_timestamp", end_timestamp),
            "order": order,
            "numbers": "string" if decimal else None,
            **{name: parameter(value) for name, value in filters.items() if value is not None},
        }
        query = {name: value for name, value in asked.items() if value}
        wanted = words(columns)
        is_series = schemas.is_series(schema)
        is_live = schema == "CryptoOrderbook" and not {"start_timestamp", "end_timestamp"} & set(
            query
        )
        if is_series and not is_live:
            if wanted:
                # Rows are walked along by their times and told apart by their ids.
                query["columns"] = ",".join(dict.fromkeys([*wanted, "id", "timestamp"]))
            rows = self._walk(schema, query, limit)
        else:
            if wanted:
                query["columns"] = ",".join([*wanted, *(["timestamp"] if is_series else [])])
            rows = self._pages(schema, query, limit)
        kept = {*wanted, "timestamp"} if is_series and as_frame else set(wanted)
        if wanted:
            rows = [{name: row[name] for name in row if name in kept} for row in rows]
        if decimal:
            rows = [exact(row) for row in rows]
        if not as_frame:
            return rows
        names = [*wanted, "timestamp"] if wanted and is_series else wanted
        names = list(dict.fromkeys(names)) or schemas.columns(schema)
        return frame(rows, names, decimal=decimal, is_series=is_series)

    def _page(self, schema: str, query: dict[str, str]) -> dict[str, Any]:
        answer = self._get(f"/api/data/{schema}", query)
        if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
            raise BookwireError(UNEXPECTED_ANSWER, f"{schema}: the answer has no list of rows")
        for text in answer.get("warnings") or []:
            # Where the caller's call stands, as far up as `query`.
            warnings.warn(str(text), BookwireWarning, stacklevel=4)
        return answer

    def _pages(self, schema: str, query: dict[str, str], limit: int | None) -> list[Row]:
        """Rows of a list that stays as it is, page by page."""
        rows: list[Row] = []
        query = {**query, "limit": str(schemas.ROWS_MAX if limit is None else limit)}
        while True:
            page = len(rows) // schemas.LIMIT_DEFAULT + 1
            size = str(schemas.LIMIT_DEFAULT)
            answer = self._page(schema, {**query, "page": str(page), "page_size": size})
            rows += answer["data"]
            if not answer.get("has_more") or not answer["data"]:
                return rows

    def _walk(self, schema: str, query: dict[str, str], limit: int | None) -> list[Row]:
        """Rows of a series, chunk by chunk along their times.

        Not by page numbers: rows that are added meanwhile would move those of the next page, and a
        result is capped on the server. The edge of a chunk is asked for again, because several
        rows may have the same time; those that were there are told by their ids.
        """
        is_from_start = "start_timestamp" in query
        if limit is None and not is_from_start:
            limit = schemas.LIMIT_DEFAULT
        is_asc = query.get("order", "timestamp_asc") == "timestamp_asc"
        is_upwards = is_asc and is_from_start
        moving = "start_timestamp" if is_upwards else "end_timestamp"
        query = {**query, "order": "timestamp_asc" if is_upwards else "timestamp_desc"}
        rows: list[Row] = []
        edge: set[str] = set()
        while True:
            missing = schemas.CHUNK if limit is None else min(limit - len(rows), schemas.CHUNK)
            # A limit of 0 is the gateway's to refuse.
            size = str(min(missing + len(edge), schemas.ROWS_MAX))
            found = self._page(schema, {**query, "limit": size, "page_size": size})["data"]
            fresh = [row for row in found if row["id"] not in edge]
            rows += fresh
            if len(found) < int(size) or (limit is not None and len(rows) >= limit):
                break
            if not fresh:
                text = f"{schema}: more than {len(found)} rows have the same time"
                raise BookwireError(UNEXPECTED_ANSWER, text)
            last = found[-1]["timestamp"]
            edge = {row["id"] for row in found if row["timestamp"] == last}
            query[moving] = last
        if is_asc and not is_upwards:
            rows.reverse()
        return rows
