"""The data that runs name, opened again for a report's pictures: only where the person who reports allows it.

The configuration in a run's folder decides which files are read, and the folder may come from somebody
else. So nothing is opened unasked, nothing but data sources is built, and what is decoded goes to the
caches of the person who reports.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.prompt import Confirm

from latentdrive.build import RUN_DATA, build
from latentdrive.errors import ConfigError
from latentdrive.report.runs import Run


class RunData:
    """Opens the data of runs.

    opens: whether that is allowed; None asks once for all runs, where somebody can answer. Anything
    else raises ConfigError. caches: the folder for what is decoded. ask: asks a question that is
    answered with yes or no.
    """

    def __init__(self, opens: bool | str | None, *, caches: Path, ask: Callable[[str], bool] | None = None) -> None:
        if opens not in (None, True, False):
            raise ConfigError(f"opens={opens}: expected true, false or null")
        self._opens, self._caches = opens, caches
        self._ask = ask if ask is not None else (Confirm.ask if sys.stdin.isatty() else None)

    def allow(self, run: Run) -> None:
        """Raise ConfigError unless the data of this run may be opened."""
        where = str((run.config.get("data") or {}).get("path", "no path"))
        if self._opens is None and self._ask is not None:
            self._opens = self._ask(f"{run.name} names data in {where}. Open such data of all runs to draw pictures?")
        if not self._opens:
            raise ConfigError(f"the data in {where} were not opened; opens=true allows it, for runs that you trust")

    def build(self, run: Run, node: Mapping[str, Any]) -> Any:
        """What a node of the run's configuration describes. Raises ConfigError where that is no data source."""
        self.allow(run)
        return build(self._with_own_caches(node), RUN_DATA)

    def _with_own_caches(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            own = {key: self._with_own_caches(entry) for key, entry in value.items()}
            return own | ({"cache_folder": str(self._caches)} if "cache_folder" in own else {})
        return [self._with_own_caches(entry) for entry in value] if isinstance(value, list) else value
