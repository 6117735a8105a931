"""Reads exported files with pandas, polars and DuckDB and compares every value exactly.

Usage: read.py EXPECTED.json
EXPECTED.json is a list of {"parquet": path, "csv": path, "columns": [name], "rows":
[{column: value}]}. A value is null,
a text, an integer, true or false, {"d": "1.5"} (a decimal), {"t": 17225…} (ns since the epoch), or
{"l": [["price", "volume"]]} (levels). Prints how many values were compared; exit code 1 with the first
that differs.
"""

import csv
import datetime
import json
import math
import sys
from decimal import Decimal

import duckdb
import pandas as pd
import polars as pl
import polars.selectors as cs


def same_number(found, expected):
    """A decimal that was never a float."""
    return isinstance(found, Decimal) and found == Decimal(expected)


def same(found, expected):
    """Whether a value of a Parquet file is the expected one."""
    if expected is None:
        return found is None or (isinstance(found, float) and math.isnan(found))
    if isinstance(expected, dict):
        if "d" in expected:
            return same_number(found, expected["d"])
        if "t" in expected:
            return found == expected["t"]
        levels = [(level["price"], level["volume"]) for level in found]
        return len(levels) == len(expected["l"]) and all(
            same_number(price, p) and same_number(volume, v)
            for (price, volume), (p, v) in zip(levels, expected["l"])
        )
    # Counts beside nulls are floats in pandas; all of them are far below 2^53.
    return found == expected


def nanoseconds(text):
    """Of an RFC 3339 instant that ends with Z."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    at = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.timezone.utc)
    return int(at.timestamp()) * 10**9 + int(fraction.ljust(9, "0") or 0)


def same_text(found, expected):
    """Whether a field of a CSV file is the expected one."""
    found = found or ""
    if expected is None:
        return found == ""
    if isinstance(expected, bool):
        return found == str(expected).lower()
    if isinstance(expected, dict):
        if "d" in expected:
            return "e" not in found.lower() and Decimal(found) == Decimal(expected["d"])
        if "t" in expected:
            return nanoseconds(found) == expected["t"]
        levels = json.loads(found, parse_float=Decimal, parse_int=Decimal)
        return levels == [[Decimal(p), Decimal(v)] for p, v in expected["l"]]
    return found == str(expected)


def pandas_rows(path):
    frame = pd.read_parquet(path)
    for name in frame.columns:
        if isinstance(frame[name].dtype, pd.DatetimeTZDtype):
            assert str(frame[name].dt.tz) == "UTC", name
            present = frame[name].notna()
            assert frame[name].dt.unit == "ns", name
            instants = frame[name].astype("int64").astype(object)
            frame[name] = instants.where(present, None)
    return frame.astype(object).to_dict("records")


def polars_rows(path):
    frame = pl.read_parquet(path)
    return frame.with_columns(cs.datetime("ns", time_zone="UTC").dt.epoch("ns")).to_dicts()


def duckdb_rows(path):
    file = f"read_parquet('{path}')"
    columns = duckdb.sql(f"describe select * from {file}").fetchall()
    wanted = [
        f'epoch_ns("{name}") as "{name}"' if kind.startswith("TIMESTAMP") else f'"{name}"'
        for name, kind, *_ in columns
    ]
    found = duckdb.sql(f"select {', '.join(wanted)} from {file}")
    return [dict(zip(found.columns, row)) for row in found.fetchall()]


def csv_rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def pandas_csv(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")


def polars_csv(path):
    return pl.read_csv(path, infer_schema=False).to_dicts()


def duckdb_csv(path):
    found = duckdb.sql(f"select * from read_csv('{path}', header=true, all_varchar=true)")
    return [dict(zip(found.columns, row)) for row in found.fetchall()]


def main():
    compared = 0
    readers = [
        ("parquet", same, [pandas_rows, polars_rows, duckdb_rows]),
        ("csv", same_text, [csv_rows, pandas_csv, polars_csv, duckdb_csv]),
    ]
    for file in json.load(open(sys.argv[1], encoding="utf-8")):
        for form, is_same, reads in readers:
            for read in reads:
                rows = read(file[form])
                place = f"{file[form]} by {read.__name__}"
                if len(rows) != len(file["rows"]):
                    sys.exit(f"{place}: {len(rows)} rows, expected {len(file['rows'])}")
                for number, (row, expected) in enumerate(zip(rows, file["rows"])):
                    if list(row) != file["columns"] or row.keys() != expected.keys():
                        sys.exit(f"{place}: columns {list(row)}, expected {file['columns']}")
                    for name, value in expected.items():
                        if not is_same(row[name], value):
                            sys.exit(f"{place}: row {number}, {name}: {row[name]!r} is not {value!r}")
                        compared += 1
    print(compared)


main()
