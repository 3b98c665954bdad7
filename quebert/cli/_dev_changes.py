"""
What C{quebert dev} does when the code of its function, or its file, has changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from quebert.cli._dev_asked import Dev
from quebert.cli._dev_log import Tell, clock_time
from quebert.cli._reloading import FileWatch, ReloadingFunctions
from quebert.config import BadConfig, Settings
from quebert.errors import ConfigError
from quebert.functions.answers import error_line
from quebert.service import ServedQueues

__all__ = ["DevChanges"]


class DevChanges:
    """
    Looks whether the function or the file has changed, and has the new one used.

    @param watches: are changed.
    @param settings: gives those of now.
    @param tell: is told.
    """

    def __init__(
        self,
        asked: Dev,
        watches: ServedQueues,
        settings: Callable[[], Settings],
        tell: Tell,
    ) -> None:
        self._asked = asked
        self._watches = watches
        self._settings = settings
        self._tell = tell
        self._files = FileWatch()
        self._config_changed()  # from now on

    def _say(self, word: str, text: str) -> None:
        self._tell(word, f"{clock_time(time.time())} {text}")

    def look(self) -> None:
        """
        Look once.
        """
        function = self._asked.function
        if isinstance(function, ReloadingFunctions):
            try:
                if function.look():
                    self._say("reloaded", self._asked.function_name or "")
            except BaseException as e:  # whatever the new code does
                why = e if isinstance(e, ConfigError) else error_line(e)
                self._say("broken", f"{why}; the code before goes on")
        if self._asked.config is not None and self._config_changed():
            self._reload(self._asked.config)

    def _config_changed(self) -> bool:
        config = self._asked.config
        return config is not None and bool(self._files.changed(iter([config])))

    def _reload(self, config: str) -> None:
        try:
            self._watches.change(self._settings())
        except BadConfig as e:
            for each in e.problems:
                self._say("broken", f"{each}; the settings before go on")
        except Exception as e:
            self._say("broken", f"{e}; the settings before go on")
        except BaseException as e:  # of a module with hooks
            self._say("broken", f"{error_line(e)}; the settings before go on")
        else:
            self._say("reloaded", config)
