"""ZVT's own server on a port of this machine. Arguments: a folder for its files, the port.

Prints a line when everything is imported.
"""

import json
import os
import sys

home, port = sys.argv[1], int(sys.argv[2])
# It reads its places when it is imported.
os.environ["ZVT_HOME"] = home
stdout, sys.stdout = sys.stdout, sys.stderr

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

import uvicorn
from zvt.zvt_server import app

print("ready", file=stdout, flush=True)
uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
