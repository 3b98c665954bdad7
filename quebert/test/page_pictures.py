"""
Take the pictures of the page that the documents show::

    python -m quebert.test.page_pictures docs/images

Look at them before you commit them.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path

from quebert.test.page import Tab, chromium, page_server
from quebert.test.page_server import PICTURED

__all__ = ["main"]

#: The most bytes of a picture.
MOST = 150_000
#: Of each picture its name, address, colours, and width.
PICTURES = (
    ("page-queues", "/", "light", 1280),
    ("page-queue", "/queues/mail", "dark", 1280),
    ("page-task", f"/tasks/{PICTURED}", "light", 1280),
    ("page-dead", "/dead/mail", "dark", 1280),
    ("page-narrow", "/", "light", 390),
    ("page-narrow-task", f"/tasks/{PICTURED}", "dark", 390),
)


def _taken(tab: Tab) -> bytes:
    """
    What is seen, as WebP.
    """
    session = tab.page.context.new_cdp_session(tab.page)
    options = {"format": "webp", "quality": 88}
    return base64.b64decode(session.send("Page.captureScreenshot", options)["data"])


def main(folder: Path) -> None:
    """
    Take all of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    server_of = page_server("--lifelike", "--rate", "1200")
    with chromium() as browser, server_of as server:
        for name, path, scheme, width in PICTURES:
            is_narrow = width < 500
            with browser.tab(
                server.url,
                width=width,
                height=800,
                color_scheme=scheme,
                has_touch=is_narrow,
                is_mobile=is_narrow,
            ) as tab:
                tab.open(path)
                tab.settled()
                tab.page.wait_for_timeout(3_500)
                picture = _taken(tab)
            assert len(picture) <= MOST, f"{name} has {len(picture)} bytes"
            (folder / f"{name}.webp").write_bytes(picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
