"""
C{python -m quebert}: the same as the command C{quebert}.
"""

from quebert.cli import main

main()
