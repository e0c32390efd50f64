"""What `evaluate` hands in: a submission for NAVSIM's server, beside scores or, for private test data, without them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentdrive.counting import counted
from latentdrive.data.navsim.submission import write_submission
from latentdrive.errors import NoPlans
from latentdrive.evaluation.planned_split import PlannedSplit
from latentdrive.evaluation.scores_file import SCORES
from latentdrive.evaluation.split import SplitScenes
from latentdrive.evaluation.summary import SUMMARY, SUMS, UNSCORED, as_text
from latentdrive.evaluation.trajectories_file import TRAJECTORIES, write_trajectories
from latentdrive.pdms.versions import Version
from latentdrive.run_folder import RunFolder
from latentdrive.types import FROZEN

SUBMISSION = "submission.pkl"  # in the run's folder, where nothing can be scored and no other file is named


def require_plans(planned: PlannedSplit, label: str) -> None:
    """Raise NoPlans where no scene has a trajectory."""
    failures = planned.plans.failures
    if not planned.plans.trajectories:
        token, reason = next(iter(failures.items()), ("", "there are no scenes"))
        raise NoPlans(
            f"{label} planned none of {counted(len(failures), 'scene')}, so there is nothing to score and nothing to "
            f"submit; the first one is {token}: {reason}"
        )


@dataclass(**FROZEN)
class Submitting:
    """How to write a submission. file: None for none, or, where nothing can be scored, for one in the run's folder.
    team: its personal keys.
    """

    file: str | None
    version: Version
    team: Mapping[str, Any]

    def submit(self, file: str | Path, scenes: SplitScenes, planned: PlannedSplit, folder: RunFolder) -> None:
        """Write the trajectories. Raises NoPlans where NAVSIM would accept none of them."""
        trajectories = planned.plans.trajectories
        first = {token: plan for token, plan in trajectories.items() if token not in scenes.synthetic}
        second = {token: plan for token, plan in trajectories.items() if token in scenes.synthetic}
        second_stage = None if self.version is Version.PDMS_V1_1 else second  # v1's format has no second stage
        left_out = write_submission(file, first, about=self.team, second_stage=second_stage)
        folder.say(f"submission: {counted(len(trajectories) - len(left_out), 'trajectory', 'trajectories')} in {file}")
        if missing := [token for token in scenes.tokens if token not in trajectories]:
            reason = planned.plans.failures.get(missing[0], "it was not planned")
            text = f"  no trajectory for {counted(len(missing), 'scene')}, the first is {missing[0]}"
            folder.say(f"{text}; the server requires all scenes ({reason})")
        for token, reason in left_out.items():
            folder.say(f"  left out: {token}: {reason}")

    def finish_unscored(
        self, scenes: SplitScenes, planned: PlannedSplit, folder: RunFolder, *, about: Mapping[str, Any], reason: str
    ) -> None:
        """End an evaluation in which nothing can be scored: its result is the submission, and no table of zeros.

        about: for summary.json. reason: why nothing can be scored.
        """
        file = folder.path / SUBMISSION if self.file is None else Path(self.file).expanduser()
        for name in (SUMS, SCORES, SUMMARY):  # of an earlier run in this folder
            (folder.path / name).unlink(missing_ok=True)
        self.submit(file, scenes, planned, folder)
        write_trajectories(folder.path / TRAJECTORIES, planned.plans.trajectories)
        counts = {"scenes": len(scenes.tokens), "planned": len(planned.plans.trajectories), "scored": 0}
        numbers = {**counts, UNSCORED: reason, "submission_file": str(file), "failures": planned.plans.failures}
        folder.write(SUMMARY, as_text({**about, **numbers}))
        folder.metrics({UNSCORED: reason, "metrics": {f"evaluate/{name}": count for name, count in counts.items()}})
        folder.say(f"No score: {reason}. The submission is the result")
        folder.finish(file, f"hand in {file} at NAVSIM's server")
