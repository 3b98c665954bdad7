r"""
Tasks in Starlette, with uvicorn::

    $ uvicorn --port=8000 examples.starlette_app:app
    … Uvicorn running on http://127.0.0.1:8000 …

Any path below /tasks brings a task to the function that has it::

    $ curl -s localhost:8000/tasks/export -H 'Content-Type: application/json' \
        --data '{"url": "/tasks/export", "params": {"orders": 1}}'
    order,total
    1,10

For others than this machine, name a file of secrets: TASK_SECRETS=mediator.secret.

Ctrl-C ends it:

.. code-block:: console

    … 200 OK
    ^C
"""

import os

from starlette.applications import Starlette
from starlette.routing import Mount

from examples import shop_tasks
from quebert.functions import Receiver
from quebert.functions.asgi import ASGIExecutor

receiver = Receiver(secrets_file=os.environ.get("TASK_SECRETS"))
executor = ASGIExecutor(receiver, shop_tasks.all_functions)
app = Starlette(routes=[Mount("/tasks", executor)])
