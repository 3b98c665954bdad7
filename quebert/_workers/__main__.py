"""
A worker process, as its supervisor starts it: by the path of this file, since
where modules are is known only from the environment.
"""

import json
import os
import sys

if __name__ == "__main__":  # multiprocessing imports it again, under another name
    sys.path[:] = json.loads(os.environ.pop("QUEBERT_WORKER"))

    from quebert._workers._worker import main

    main()
