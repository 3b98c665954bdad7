"""
An executor in a web application of your own, which does tasks of your mediators only,
since it verifies the signature of each request.  Any framework will do; this is WSGI.
Make a secret, and start the application::

    $ quebert secret mediator.secret
    $ python examples/signed_executor.py
    at http://localhost:8000/

A mediator has the same file as ``sign.secrets_file`` of a queue.  A request that is not
signed is refused::

    $ curl -s localhost:8000 --data '{"url": "/hello", "params": {"name": "you"}}'
    the request is not signed: it has no webhook-id

The application logs each request, until Ctrl-C ends it:

.. code-block:: console

    … "POST / HTTP/1.1" 401 47
    ^C
"""

import json
from contextlib import suppress
from wsgiref.simple_server import make_server

from quebert.errors import BadSignature
from quebert.signatures import Verifier


def application(verifier):
    """
    The application, which greets.

    In Flask you would call ``verifier.verify(request.headers, request.get_data())``, in
    Django ``verifier.verify(request.headers, request.body)``, and in FastAPI
    ``verifier.verify(request.headers, await request.body())``.
    """

    def respond(environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        try:
            verifier.verify(headers(environ), body)
        except BadSignature as e:
            start_response("401 Unauthorized", [("Content-Type", "text/plain")])
            return [str(e).encode()]
        task = json.loads(body)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"said": f"hello, {task['params']['name']}"}).encode()]

    return respond


def headers(environ):
    """
    The headers of a request, which WSGI has among other things.
    """
    names = (name for name in environ if name.startswith("HTTP_"))
    return {name[5:].replace("_", "-"): environ[name] for name in names}


if __name__ == "__main__":
    verifier = Verifier.from_file("mediator.secret")
    with make_server("localhost", 8000, application(verifier)) as server:
        print("at http://localhost:8000/")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
