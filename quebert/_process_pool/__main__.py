"""
A process of a pool, as the pool starts it: by the path of this file, since where
modules are is known only from the environment.
"""

import json
import os
import sys

if __name__ == "__main__":  # multiprocessing imports it again, under another name
    given = os.environ.pop("QUEBERT_POOL_PROCESS")
    sys.path[:] = json.loads(given)[2]

    from quebert._process_pool._child import main

    main(given)
