"""
Add some tasks of each priority, from a plain script::

    python examples/add_tasks.py [how many]

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
