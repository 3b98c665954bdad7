r"""
An executor: a function that is called for each task.  Start it with twistd::

    $ twistd -n quexecutor --function=examples.executor.execute --port=8000
    … Taking tasks at 127.0.0.1 port 8000.

and give it a task, as a mediator would::

    $ curl -s localhost:8000 -H 'Content-Type: application/json' \
        --data '{"url": "/hello", "params": {"name": "you"}}'
    {"said":"hello, you"}

The executor prints each task, until Ctrl-C ends it:

.. code-block:: console

    … executing /hello {'name': 'you'}
    ^C

Or start it by hand::

    $ python examples/executor.py
    … Taking tasks at 127.0.0.1 port 8000.

With med.py and a broker it executes the tasks that add_tasks.py adds.
"""

import sys
from urllib.parse import urlsplit

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.logger import globalLogBeginner, textFileLogObserver

from quebert.executor import ExecutorService


def hello(task):
    """
    What a function returns is the answer, as JSON.
    """
    params = task["params"]
    return {"said": f"{params.get('greeting', 'hello')}, {params['name']}"}


def nap(task, clock=reactor):
    """
    A Deferred is waited for; other tasks run meanwhile.
    """
    return deferLater(clock, task["params"]["seconds"], lambda: "slept well\n")


async def two_naps(task, clock=reactor):
    """
    So is a coroutine.
    """
    await nap(task, clock)
    return await nap(task, clock)


def fail(task):
    """
    A failed task is answered with 500, so that the mediator tries it again.
    """
    raise RuntimeError(f"this is failure number {task.get('failures', 0) + 1}")


KINDS = {"/hello": hello, "/nap": nap, "/two_naps": two_naps, "/fail": fail}


def execute(task):
    """
    Execute a task of any kind: the path of its URL tells which.
    """
    print("executing", task["url"], task.get("params"))
    return KINDS[urlsplit(task["url"]).path](task)


def _run():
    executor = ExecutorService(execute, port=8000)
    reactor.addSystemEventTrigger("before", "shutdown", executor.stopService)
    executor.startService()


if __name__ == "__main__":
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)])
    reactor.callLater(0, _run)
    reactor.run()
