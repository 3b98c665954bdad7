"""
quebert as it is deployed: C{twistd quebert --config} with a retry policy, jitter, and
for every host a circuit breaker, an adaptive limit, and a fixed one.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from _common import Settings, main
from quebert_mediator import become_twistd, publish

CONFIGURATION = """\
[broker]
url_env = "QUEBERT_AMQP_URL"

[queues.{queue}]
exchange = "{queue}"
key = "#"
concurrency = {concurrency}
permanent = [400, 404, 410, 422]
retry = {{ max_attempts = 50, min_backoff = 1, max_backoff = "1h", jitter = "full" }}

[hosts."*"]
concurrency = {concurrency}
breaker = true
adaptive = true
"""


def work(settings: Settings) -> None:
    """
    Watch the queue as a configuration file has it.
    """
    how = {"queue": settings.queue, "concurrency": settings.concurrency}
    file = Path(tempfile.gettempdir(), f"quebert-{settings.queue}.toml")
    file.write_text(CONFIGURATION.format(**how))
    become_twistd(settings, f"--config={file}")


if __name__ == "__main__":
    main(work, publish)
