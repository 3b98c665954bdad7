"""
Versions of the tables of the history, one module each, for alembic.

To change a table: change C{quebert/history/_schema}, and add a module here whose
C{down_revision} is the newest one; a test compares the result with the schema.
"""
