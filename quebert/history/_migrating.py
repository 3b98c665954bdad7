"""
Brings the tables of the history to the version that this quebert knows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from quebert.errors import HistoryRefused
from quebert.history import migrations

__all__ = ["FOLDER", "migrate"]

#: Where the versions are.
FOLDER = Path(migrations.__file__).parent


def migrate(connection: Connection, where: str, version: str = "head") -> None:
    """
    Make the tables, or change those of an earlier version, all in the transaction of
    C{connection}.

    @param where: the place of the database.
    @param version: that the tables have afterwards.
    @raise HistoryRefused: the tables are of a newer version.
    """
    # The versions are no templates: there is no env.py.
    script = ScriptDirectory(str(FOLDER), version_locations=[str(FOLDER)])
    current = MigrationContext.configure(connection).get_current_revision()
    known = {each.revision for each in script.walk_revisions()}
    if current is not None and current not in known:
        text = f"the history in {where} is of version {current}, and this quebert knows"
        newest = script.get_current_head()
        raise HistoryRefused(f"{text} up to {newest}: use a newer quebert")
    if current == script.get_current_head():
        return

    def upgrade(revision: Any, context: object) -> Any:
        return script._upgrade_revs(version, revision)

    with EnvironmentContext(Config(), script, fn=upgrade) as environment:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()
