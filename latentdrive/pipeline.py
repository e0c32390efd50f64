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
from typing import Any

from latentdrive.config import Config, compose, from_yaml, to_yaml
from latentdrive.errors import ConfigError
from latentdrive.identity import identity_of
from latentdrive.overrides import typed
from latentdrive.plain_files import read_json, read_yaml
from latentdrive.run_folder import CONFIG, METRICS


class State(StrEnum):
    """State of a step, read from its folder."""

    MISSING = "missing"  # no run
    STALE = "stale"  # a run of another configuration, or of one that can't be read
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
        if identity_of(read_config(file)) != identity_of(from_yaml(to_yaml(self.cfg))):
            return State.STALE
        complete = _holds_numbers(self.out / METRICS) and (self.makes is None or self.makes.exists())
        return State.FINISHED if complete else State.BEGUN

    def remove(self) -> bool:
        """Remove everything the step wrote. Returns whether there was anything.

        Raises ConfigError, and removes nothing, where a folder of the step is a link.
        """
        self.require_no_links()
        paths = [path for path in (self.out, self.makes) if path is not None and path.exists()]
        for path in paths:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return bool(paths)

    def require_no_links(self) -> None:
        """Raise ConfigError where a folder of the step is a link: what it points to may belong to something else."""
        for path in (self.out, self.makes):
            if path is not None and path.is_symlink() and path.is_dir():
                raise ConfigError(
                    f"{path} is a link to a folder, and what lies there has to make room for a new run: remove the "
                    "link (the folder behind it stays), and run the same command again"
                )

    @property
    def _all_overrides(self) -> list[str]:
        return [*self.overrides, f"out={typed(str(self.out))}"]


def pending(steps: Sequence[Step]) -> Sequence[Step]:
    """The first step that is not finished, and all after it, because they build on what it makes."""
    first = next((place for place, step in enumerate(steps) if step.state is not State.FINISHED), len(steps))
    return steps[first:]


def remove_outdated(steps: Sequence[Step]) -> list[str]:
    """Make room for these pending steps: remove what they wrote, but keep a first step that can be
    resumed. Of that one, only a damaged file of numbers is removed.

    The last step is removed first, so that an interruption leaves the reason for the removal in
    place. Returns the names of the steps that lost something, in their order. Raises ConfigError,
    and removes nothing, where one of the folders is a link.
    """
    keeps_first = bool(steps) and steps[0].state in (State.BEGUN, State.FINISHED)
    outdated = steps[1 if keeps_first else 0 :]
    for step in outdated:
        step.require_no_links()
    removed = [step.name for step in reversed(outdated) if step.remove()]
    if keeps_first and not _holds_numbers(numbers := steps[0].out / METRICS):
        numbers.unlink(missing_ok=True)  # the verb would read it
    return removed[::-1]


def read_config(file: Path) -> dict[str, Any] | None:
    """The configuration in a run's config.yaml; None where the file holds none that can be read."""
    try:
        content = read_yaml(file)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _holds_numbers(file: Path) -> bool:
    """Whether metrics.json is there, and is a JSON object that is not empty."""
    try:
        content = read_json(file) if file.is_file() else None
    except ValueError:
        return False
    return isinstance(content, dict) and bool(content)
