"""ZVT's own server, with bars in ZVT's own store.

Arguments: a folder for ZVT's files, a file with rows as bookwire's REST gives them, a port.
Serves ZVT's routes, and /bars: what its route query_data does (query, jsonable_encoder) with a
thousand rows, where that one has a hundred, fixed. Prints its version when all is stored.
"""

import json
import os
import sys

home, rows_file, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
# Before zvt is imported: it reads its places then.
os.environ["ZVT_HOME"] = home
# It has things to say on stdout.
stdout, sys.stdout = sys.stdout, sys.stderr

from importlib.metadata import version

import pkg_resources

# The wheel of 0.13.5 has no config.json, without which `import zvt` fails: one without settings does.
found = pkg_resources.resource_filename


def resource_filename(package, name):
    path = found(package, name)
    if name == "config.json" and not os.path.exists(path):
        path = os.path.join(home, "config.json")
        os.makedirs(home, exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(dict.fromkeys(["em_header", "em_cookie"], ""), file)
    return path


pkg_resources.resource_filename = resource_filename

import pandas as pd
import uvicorn
from fastapi.encoders import jsonable_encoder
from sqlalchemy.orm import declarative_base
from zvt.contract import api
from zvt.contract.register import register_schema
from zvt.domain.quotes import KdataCommon
from zvt.zvt_server import app

Base = declarative_base()


class CryptoPair1mKdata(Base, KdataCommon):
    __tablename__ = "crypto_pair_1m_kdata"


register_schema(
    providers=["binance"], db_name="crypto_pair_1m_kdata", schema_base=Base, entity_type="cryptopair"
)

with open(rows_file, encoding="utf-8") as file:
    rows = json.load(file)
columns = [column.name for column in CryptoPair1mKdata.__table__.columns]
frame = pd.DataFrame(rows)[columns]
frame["timestamp"] = pd.to_datetime(frame["timestamp"]).dt.tz_localize(None)
api.df_to_db(df=frame, data_schema=CryptoPair1mKdata, provider="binance")


@app.get("/bars", response_model=list)
def bars():
    with api.DBSession(provider="binance", data_schema=CryptoPair1mKdata)() as session:
        return jsonable_encoder(
            CryptoPair1mKdata.query_data(session=session, limit=1000, return_type="domain")
        )


print("zvt", version("zvt"), file=stdout, flush=True)
uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
