r"""
Functions that do tasks, for any web server.  flask_app.py, fastapi_app.py,
starlette_app.py and django_app.py have them, and twistd::

    $ twistd -n quexecutor --function=examples.shop_tasks --port=8000
    … Taking tasks at 127.0.0.1 port 8000.

and a task is done as a mediator would have it done::

    $ curl -s localhost:8000/export -H 'Content-Type: application/json' \
        --data '{"url": "/export", "params": {"orders": 2}}'
    order,total
    1,10
    2,20

The function prints, until Ctrl-C ends the executor:

.. code-block:: console

    … exporting 2 orders
    ^C
"""

from quebert.functions import GiveUp, Retry, all_functions, task

__all__ = ["all_functions"]


@task("/mail")
def mail(task):
    """
    An exception is a failure: the mediator tries the task again.  GiveUp is final.
    """
    address = task["params"]["to"]
    if "@" not in address:
        raise GiveUp(f"{address} is no address")
    if task.attempt < 3:
        raise ConnectionError("the mail server does not answer")
    return {"sent": address, "attempt": task.attempt}


@task("/report")
async def report(task):
    """
    A coroutine may await what its server can: asyncio's, or with twistd Deferreds.
    """
    if task.attempt == 1:
        raise Retry("the figures are not there yet", after=1)
    return {"report": "done", "attempt": task.attempt}


@task("/export")
def export(task):
    """
    What a generator yields is joined.
    """
    orders = task["params"]["orders"]
    print(f"exporting {orders} orders")
    yield "order,total\n"
    for order in range(1, orders + 1):
        yield f"{order},{10 * order}\n"
