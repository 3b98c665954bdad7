r"""
Tasks in Flask, with gunicorn::

    $ gunicorn --bind=127.0.0.1:8000 examples.flask_app:app
    … Listening at: http://127.0.0.1:8000 …

Any path below /tasks brings a task to the function that has it::

    $ curl -s localhost:8000/tasks/hello -H 'Content-Type: application/json' \
        --data '{"url": "/tasks/hello", "params": {"name": "you"}}'
    {"said":"hello, you","by":"examples.flask_app"}

For others than this machine, name a file of secrets: TASK_SECRETS=mediator.secret.

Ctrl-C ends it:

.. code-block:: console

    … Booting worker with pid: …
    ^C
"""

import os

from flask import Flask, current_app

from examples import shop_tasks
from quebert.functions import Receiver, task
from quebert.functions.wsgi import WSGIExecutor

app = Flask(__name__)
receiver = Receiver(secrets_file=os.environ.get("TASK_SECRETS"))
tasks = WSGIExecutor(receiver, shop_tasks.all_functions, prefix="/tasks")


@app.post("/tasks/<path:path>")
def take(path):
    """
    A view of Flask may return a WSGI application, which is called in the context of
    Flask.
    """
    return tasks


@task("/hello")
def hello(task):
    """
    So functions have current_app, and the extensions of Flask.
    """
    return {"said": f"hello, {task['params']['name']}", "by": current_app.name}
