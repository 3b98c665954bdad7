"""
Tasks over HTTP with Python's standard library: add two, look at one, and delete it::

    $ export QUEBERT_URL=http://localhost:8080 QUEBERT_TOKEN=qbt_...
    $ python add_task.py 4711
"""

import json
import os
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

API = os.environ.get("QUEBERT_URL", "http://localhost:8080") + "/v1"
EXECUTOR = os.environ.get("EXECUTOR_URL", "http://localhost:8000")


def call(method, path, body=None, key=None):
    """
    Make a request; the JSON of the answer.
    """
    headers = {"Authorization": f"Bearer {os.environ['QUEBERT_TOKEN']}"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    if key is not None:
        headers["Idempotency-Key"] = key
    data = None if body is None else json.dumps(body).encode()
    request = Request(API + path, data, headers, method=method)
    try:
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except HTTPError as error:  # the problem, as JSON
        sys.exit(f"{method} {path}: {error.code} {error.read().decode()}")


def main(order):
    """
    Add, look, delete.
    """
    greeting = {
        "url": f"{EXECUTOR}/hello",
        "params": {"name": "Ada"},
        "name": f"greeting-{order}",
    }
    # The key makes it one task, however often this request is made.
    task = call("POST", "/tasks", greeting, key=f"greeting-{order}")
    print("added", task["uuid"])

    # One that is not due for a week is there, until it is deleted.
    reminder = {
        "url": f"{EXECUTOR}/hello",
        "params": {"name": "Ada, again"},
        "name": f"reminder-{order}",
        "delay": 7 * 86_400,
    }
    uuid = call("POST", "/tasks", reminder)["uuid"]
    task = call("GET", f"/tasks/{uuid}")
    print("state", task["created"]["state"])
    print("result", call("DELETE", f"/tasks/{uuid}")["result"])


if __name__ == "__main__":
    main(sys.argv[1])
