"""Rows to a pandas frame. pandas is imported with the first frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .values import DECIMAL_FIELDS, Row

if TYPE_CHECKING:
    import pandas as pd


def _pandas() -> Any:
    try:
        import pandas as pd
    except ImportError:
        raise ImportError(
            "frames need pandas: pip install 'bookwire[pandas]', or pass as_frame=False for rows"
        ) from None
    return pd


def _is_time(name: str) -> bool:
    return name == "list_date" or name.endswith("timestamp")


def frame(rows: list[Row], columns: list[str], *, decimal: bool, is_series: bool) -> pd.DataFrame:
    """A frame of rows.

    Series have a `DatetimeIndex` named ``timestamp`` (UTC, ns); it is not a column too, which
    pandas would find ambiguous. Numbers are float64, or `Decimal` objects; null is NaN (NaT in
    times). `columns` names those of a frame without rows.

    Raises:
        ImportError: pandas is not installed.
    """
    pandas = _pandas()
    table = pandas.DataFrame(rows) if rows else pandas.DataFrame(columns=columns)
    for name in table.columns:
        column = table[name]
        if _is_time(name):
            times = pandas.to_datetime(column, utc=True, format="ISO8601")
            # One unit whatever the digits of the first row and the version of pandas.
            table[name] = times.dt.as_unit("ns")
        elif name in DECIMAL_FIELDS:
            if decimal:
                column = column.astype(object)
                table[name] = column.where(column.notna(), float("nan"))
            else:
                # A column of whole prices would be int64, and one of nulls object.
                table[name] = column.astype("float64")
        elif column.isna().any():
            table[name] = column.where(column.notna(), float("nan"))
    if is_series and "timestamp" in table.columns:
        table = table.set_index("timestamp")
    result: pd.DataFrame = table
    return result
