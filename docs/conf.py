"""
How Sphinx builds the documentation: see C{make docs}.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

import quebert  # noqa: E402

project = "quebert"
author = "the quebert authors"
version = release = quebert.__version__
extensions = ["file_links", "llms_file"]
exclude_patterns = ["changes"]
highlight_language = "text"
smartquotes = False
html_theme = "furo"
html_title = f"quebert {release}"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_use_index = False

# A link to one of these files leads to the page that includes it; a link to a module
# leads to its page of the API reference.
file_links_pages = {
    "CONTRIBUTING.rst": "project/contributing",
    "SECURITY.rst": "project/threats",
    "bench/README.rst": "project/measuring",
    "bench/RESULTS.rst": "project/results",
}
file_links_api = "api"
