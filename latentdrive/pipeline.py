"""Steps of a pipeline: commands that build on one another, and which of them still have to run.

A step is a verb with its overrides and a run folder of its own. It fits the folder if the
configuration that lies there has the same identity (identity.py); it is finished if, besides, its
numbers and everything it makes are there. `demo` and tools/run_table.py run their commands as such
steps.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from latentdrive.config import Config, compose, from_yaml, to_yaml
from latentdrive.identity import identity_of
from latentdrive.overrides import typed
from latentdrive.run_folder import CONFIG, METRICS


class State(StrEnum):
    """State of a step, read from its folder."""

    MISSING = "missing"  # no run
    STALE = "stale"  # a run of another configuration
    BEGUN = "begun"  # a run of this configuration, without all of its results
    FINISHED = "finished"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command of a pipeline.

    name: for messages. verb, overrides: what is typed, such as `train codebook` and `data=world`;
    the seed is among the overrides. out: its run folder. makes: a file or folder that it writes
    elsewhere, None if there is none. about: what the step is for, in words.
    """

    name: str
    verb: str
    overrides: tuple[str, ...]
    out: Path
    makes: Path | None = None
    about: str = ""

    @property
    def words(self) -> list[str]:
        """The command behind `latentdrive`, word by word."""
        return [*self.verb.split(), *self._all_overrides]

    @cached_property
    def cfg(self) -> Config:
        """The configuration as the command line composes it. Raises ConfigError."""
        return compose(self.verb.replace(" ", "_"), self._all_overrides)

    @property
    def state(self) -> State:
        """How far the step has come in its folder."""
        file = self.out / CONFIG
        if not file.is_file():
            return State.MISSING
        # Through YAML and back, because a number may change its type on the way.
        if identity_of(from_yaml(file.read_text(encoding="utf-8"))) != identity_of(from_yaml(to_yaml(self.cfg))):
            return State.STALE
        complete = (self.out / METRICS).is_file() and (self.makes is None or self.makes.exists())
        return State.FINISHED if complete else State.BEGUN

    def remove(self) -> bool:
        """Remove everything the step wrote. Returns whether there was anything."""
        paths = [path for path in (self.out, self.makes) if path is not None and path.exists()]
        for path in paths:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return bool(paths)

    @property
    def _all_overrides(self) -> list[str]:
        return [*self.overrides, f"out={typed(str(self.out))}"]


def pending(steps: Sequence[Step]) -> Sequence[Step]:
    """The first step that is not finished, and all after it, because they build on what it makes."""
    first = next((place for place, step in enumerate(steps) if step.state is not State.FINISHED), len(steps))
    return steps[first:]


def remove_outdated(steps: Sequence[Step]) -> list[str]:
    """Make room for these pending steps: remove what they wrote, but keep a first step that can be
    resumed.

    The last step is removed first, so that an interruption leaves the reason for the removal in
    place. Returns the names of the steps that lost something, in their order.
    """
    keeps_first = bool(steps) and steps[0].state in (State.BEGUN, State.FINISHED)
    removed = [step.name for step in reversed(steps[1 if keeps_first else 0 :]) if step.remove()]
    return removed[::-1]
