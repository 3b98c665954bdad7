"""
A process of a pool, as the pool starts it: by the path of this file, since where
modules are is known only from the environment.
"""

import json
import os
import sys

given = os.environ.pop("QUEBERT_POOL_PROCESS")
sys.path[:] = json.loads(given)[2]

from quebert._process_pool._child import main  # noqa: E402

main(given)
