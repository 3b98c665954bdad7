"""
Add some tasks of each priority, three unless the script is told how many, while med.py
and executor.py run::

    $ python examples/add_tasks.py 1
    added 8f145aec-1c3b-4d7f-9a0e-5b6c7d8e9f01 (low)
    added d0a3c1f4-7e52-4f0b-8a9c-3c1e5d7f9b02 (medium)
    added 5b2e8c76-0f41-4b8d-b6a1-9e3d2c4f6a03 (high)

The executor says hello to each, and med.py logs the answer:

.. code-block:: console

    … Result of 8f145aec-1c3b-4d7f-9a0e-5b6c7d8e9f01: {'said': 'grüß Gott, task 0'}

The same call works in a Django or Flask view; it returns when the broker has
the task on disk. From Twisted, use quebert.producer.Producer instead.
"""

import sys

from quebert.producer import HIGH, LOW, MEDIUM, add_task


def main(number=3):
    """
    Add that many tasks of each priority.
    """
    for priority in (LOW, MEDIUM, HIGH):
        for n in range(number):
            uuid = add_task(
                "/hello",
                {"name": f"task {n}", "greeting": "grüß Gott"},
                priority=priority,
                ttl=3600,  # not worth doing an hour from now
                timeout=10,  # seconds an execution may take
            )
            print(f"added {uuid} ({priority})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
