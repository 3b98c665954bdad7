"""
Tasks that are created over HTTP while all that they go through is killed.

  - C{_orders}: what clients ask for.
  - C{_site}: RabbitMQ, a database, C{quebert web} and two mediators, and their kills.
  - C{_clients}: clients that ask for tasks, and what they are told.
  - C{_executor}: does the tasks, and notes the attempts.
  - C{_proof}: what is to hold at the end.
  - C{_soak}: all of it.
"""

from quebert.test.durability._orders import Orders
from quebert.test.durability._proof import Proof
from quebert.test.durability._site import DATABASES
from quebert.test.durability._soak import Soak

__all__ = ["DATABASES", "Orders", "Proof", "Soak"]
