r"""
Tasks in FastAPI, with uvicorn::

    $ uvicorn --port=8000 examples.fastapi_app:app
    … Uvicorn running on http://127.0.0.1:8000 …

Any path below /tasks brings a task to the function that has it::

    $ curl -s localhost:8000/tasks/export -H 'Content-Type: application/json' \
        --data '{"url": "/tasks/export", "params": {"orders": 1}}'
    order,total
    1,10

An endpoint of your own can take tasks, too::

    $ curl -s localhost:8000/welcome -H 'Content-Type: application/json' \
        --data '{"url": "/welcome", "params": {"name": "you"}}'
    {"said":"welcome, you"}

For others than this machine, name a file of secrets: TASK_SECRETS=mediator.secret.

Ctrl-C ends it:

.. code-block:: console

    … 200 OK
    ^C
"""

import os

from fastapi import FastAPI, Request, Response

from examples import shop_tasks
from quebert.functions import Receiver, RequestRefused
from quebert.functions.asgi import ASGIExecutor

app = FastAPI()
receiver = Receiver(secrets_file=os.environ.get("TASK_SECRETS"))
app.mount("/tasks", ASGIExecutor(receiver, shop_tasks.all_functions))


@app.post("/welcome")
async def welcome(request: Request):
    """
    Where a mount does not fit: the headers and the body become a task.
    """
    body = await request.body()
    try:
        task = receiver.receive(request.method, request.headers, body)
    except RequestRefused as e:
        return Response(e.answer.body, e.answer.status, dict(e.answer.headers))
    return {"said": f"welcome, {task['params']['name']}"}
