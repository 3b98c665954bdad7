"""
An executor with Python's standard library::

    $ python executor.py
    tasks at http://127.0.0.1:8000/

The body of a request is a task as JSON.  2xx is done; after anything else the task
comes again.  With TASK_SECRET=whsec_... only requests are taken that are signed with
this secret: a line of the file that "quebert secret" has made.
"""

import base64
import hmac
import json
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

SECRET = base64.b64decode(os.environ.get("TASK_SECRET", "").removeprefix("whsec_"))
LARGEST = 16 * 2**20  # bytes, as much as a task may have
LEASED = object()


class GiveUp(Exception):
    """
    What no further attempt would mend.
    """


def greet(params, lease):
    """
    Answers at once.
    """
    if not isinstance(params, dict) or "name" not in params:
        raise GiveUp("a greeting needs a name")
    return {"said": f"hello, {params['name']}"}


def encode(params, lease):
    """
    Goes on for up to an hour after the answer.
    """
    if lease is None:
        raise RuntimeError("the queue has no leases")
    threading.Thread(target=encode_all, args=(lease,)).start()
    return LEASED


def encode_all(lease):
    """
    Do the work, and tell of it.
    """
    try:
        pass  # the work
    except Exception:
        traceback.print_exc()
        tell(f"{lease}:fail", {"seconds": 60})
    else:
        tell(f"{lease}:complete", {})


def tell(url, body):
    """
    Tell quebert, which may be about to start.
    """
    headers = {"Content-Type": "application/json"}
    for pause in (1, 5, 25, 125, None):
        try:
            with urlopen(Request(url, json.dumps(body).encode(), headers), timeout=30):
                return
        except OSError as error:
            status = getattr(error, "code", 503)
            if status != 503 or pause is None:  # 409: the lease was lost
                raise
            time.sleep(pause)


def is_signed(headers, body):
    """
    Whether a mediator has signed the request, in the last five minutes.
    """
    stamp = headers.get("webhook-timestamp", "")
    if not stamp.isdecimal() or abs(time.time() - int(stamp)) > 300:
        return False
    content = f"{headers.get('webhook-id')}.{stamp}.".encode() + body
    right = base64.b64encode(hmac.digest(SECRET, content, "sha256"))
    given = headers.get("webhook-signature", "").encode().split(b" ")
    return any(hmac.compare_digest(b"v1," + right, each) for each in given)


FUNCTIONS = {"/hello": greet, "/encode": encode}


class Handler(BaseHTTPRequestHandler):
    """
    Answers requests.
    """

    protocol_version = "HTTP/1.1"  # a connection serves more than one task
    timeout = 10  # more than the four seconds for which a mediator keeps an idle one

    def handle(self):
        """
        Serve a connection, until either side closes it.
        """
        with suppress(ConnectionError):
            super().handle()

    def do_POST(self):
        """
        Do a task.
        """
        length = int(self.headers.get("Content-Length", 0))
        if length > LARGEST:
            self.close_connection = True
            return self.say(413, "the task is too large")
        body = self.rfile.read(length)
        if SECRET and not is_signed(self.headers, body):
            return self.say(401, "the request is not signed")
        function = FUNCTIONS.get(self.path.partition("?")[0])
        if function is None:
            return self.say(404, f"no function does {self.path}")
        try:
            params = json.loads(body).get("params")
        except (ValueError, AttributeError):
            return self.say(400, "the body is no task")
        try:
            result = function(params, self.headers.get("Quebert-Lease-URL"))
        except GiveUp as error:
            return self.say(422, str(error), {"Quebert-Outcome": f"bury; {error}"})
        except Exception as error:
            traceback.print_exc()
            return self.say(500, str(error), {"Retry-After": "5"})
        if result is LEASED:
            return self.say(202, "it goes on", {"Quebert-Lease": "3600"})
        return self.say(200, json.dumps(result), {"Content-Type": "application/json"})

    def say(self, status, text, headers=None):
        """
        Answer.
        """
        body = text.encode()
        fields = {"Content-Type": "text/plain; charset=utf-8", **(headers or {})}
        if self.server.ending:
            fields["Connection"] = "close"
        self.send_response(status)
        for name, value in {**fields, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """
    At its end, running tasks end, and no others begin.
    """

    daemon_threads = False
    ending = False

    def end(self, *told):
        """
        Called at a signal.
        """
        self.ending = True
        threading.Thread(target=self.shutdown).start()


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8000"))
    with Server(("127.0.0.1", port), Handler) as server:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, server.end)
        print(f"tasks at http://127.0.0.1:{port}/", file=sys.stderr)
        server.serve_forever()
