"""The data that runs name, opened again for a report's pictures: only where the person who reports allows it.

The configuration in a run's folder decides which files are read, and the folder may come from somebody
else. So nothing is opened unasked, nothing but data sources is built, and what is decoded goes to the
caches of the person who reports.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.prompt import Confirm

from latentdrive.build import AllowList, build
from latentdrive.errors import ConfigError
from latentdrive.report.runs import Run

DATA_SOURCES = frozenset(  # these do nothing but read
    f"latentdrive.data.{name}"
    for name in (
        "batches.augmentation.Augmentation",
        "batches.clip_batches.ClipBatches",
        "clips.clip_source.ClipOptions",
        "clips.clip_source.Part",
        "clips.clip_truth.SidecarTruth",
        "clips.comma2k19.Comma2k19",
        "clips.data_set.DataSet",
        "clips.kitti.KittiOdometry",
        "clips.video.VideoFolder",
        "clips.visual_odometry.VisualOdometry",
        "maps.nuplan_maps.NuplanMaps",
        "navsim.clip_source.NavsimClips",
        "navsim.scene_settings.NavsimSettings",
        "navsim.scene_settings.TwoStageSettings",
        "scenarios.scene_source.ScenarioSettings",
    )
)
RUN_DATA = AllowList(names=DATA_SOURCES)


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
        data = run.config.get("data")
        if not isinstance(data, Mapping):
            raise ConfigError(f"{run.path}: its configuration names no data")
        where = repr(str(data.get("path", "")))[:300]  # with quotes and escapes, as somebody else chose the text
        if self._opens is None and self._ask is not None:
            question = f"{run.name!r} names data in {where}. Open such data of all runs to draw pictures?"
            self._opens = self._ask(escape(question))
        if not self._opens:
            raise ConfigError(f"the data in {where} were not opened; opens=true allows it, for runs that you trust")

    def build(self, run: Run, node: Mapping[str, Any]) -> Any:
        """What a node of the run's configuration describes. Raises ConfigError where that is no data source."""
        self.allow(run)
        return build(self._on_this_machine(node), RUN_DATA)

    def _on_this_machine(self, value: Any) -> Any:
        """A node with the caches of who reports, and read in this process alone."""
        if isinstance(value, Mapping):
            own = {"cache_folder": str(self._caches), "processes": 1, "workers": 0}
            inner = {key: self._on_this_machine(entry) for key, entry in value.items()}
            return inner | {key: entry for key, entry in own.items() if key in inner}
        return [self._on_this_machine(entry) for entry in value] if isinstance(value, list) else value
