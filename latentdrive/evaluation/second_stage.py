"""Two stages as one evaluation (navhard): which entries of a split's mapping are scored, and how
both stages are joined.

Completes the scores of scoring.py, as extended comfort does for one stage; the rule itself is
pdms/two_stage.py. Traffic is replayed from the log in both stages. In NAVSIM's own two-stage score
vehicles react, which is why the results say so.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float64, Int64

from latentdrive.counting import counted
from latentdrive.data.navsim.scene_filter import SecondStage
from latentdrive.errors import NoScenes, UnreadableClip
from latentdrive.evaluation.results import StageLinks
from latentdrive.evaluation.scoring import ScoredPlans
from latentdrive.evaluation.split import SplitScenes
from latentdrive.geometry import compose
from latentdrive.pdms.scene import HEADING, ScoringScene
from latentdrive.pdms.score import EC
from latentdrive.pdms.sub_scores.extended_comfort import FARTHEST_S, interval_s
from latentdrive.pdms.two_stage import TERMS, StageRows, aggregate
from latentdrive.types import FROZEN

TRAFFIC = (
    "replayed from the log in both stages (non-reactive); in NAVSIM's own two-stage score vehicles "
    "react, so numbers of the two "
    "can't be compared"
)

Start = tuple[
    int, Float64[np.ndarray, "3"]
]  # time of the present frame (microseconds) and rear axle then, global frame


@dataclass(**FROZEN)
class SecondStages:
    """Completes the scores of both stages. starts: of every scene of the entries, by token."""

    entries: tuple[SecondStage, ...]
    starts: dict[str, Start]

    def __call__(self, scored: ScoredPlans) -> ScoredPlans:
        """Add extended comfort and total to both scenes of each pair, and to each scene its links
        and weight.

        A scene that failed scores 0, and the other scene of its pair gets extended comfort 0. The
        scenes that follow a failed one have equal weights.
        """
        results = scored.results
        poses = np.stack([self.starts[token][1] for token in results.tokens])
        terms = torch.from_numpy(np.stack([results.terms[name] for name in TERMS], -1))
        original = _original_rows(self.entries, results.tokens)
        rows = StageRows(
            tokens=results.tokens,
            terms=terms,
            scored=terms,
            start_s=torch.tensor([self.starts[token][0] * 1e-6 for token in results.tokens], dtype=torch.float64),
            # Where the plan ends, not where the simulated car came to.
            end_points=torch.from_numpy(compose(poses, scored.ends)[:, :2]),
            start_points=torch.from_numpy(poses[:, :2]),
            states=torch.from_numpy(scored.states),
            synthetic=torch.from_numpy(original >= 0),
        )
        joined = aggregate(self.entries, rows)
        completed = replace(
            results,
            terms=results.terms | {EC: joined.extended_comfort.numpy()},
            score=joined.score.numpy(),
            links=StageLinks(original=original, weight=joined.weight.numpy()),
        )
        return replace(scored, results=completed)


def second_stages(
    scenes: SplitScenes, prepared: Callable[[str], ScoringScene], unprepared: Mapping[str, str]
) -> tuple[SplitScenes, SecondStages]:
    """The entries of the mapping that can be scored, and what completes their scores. prepared,
    unprepared: see PreparedSplit.

    An entry is left out, and recorded in `left_out`, if time or place of one of its scenes is
    unknown, or if the two scenes of a pair do not start within FARTHEST_S of each other. Raises
    NoScenes where no entry remains.
    """
    starts, unknown = _starts(scenes, prepared, unprepared)
    problems = {entry.now: _problem(entry, starts, unknown) for entry in scenes.entries}
    left_out = {token: problem for token, problem in problems.items() if problem is not None}
    scored = scenes.of_entries(entry for entry in scenes.entries if entry.now not in left_out)
    if not scored.entries:
        token, reason = next(iter(left_out.items()))
        raise NoScenes(f"no entry of the two-stage mapping can be scored, the first one is {token}: {reason}")
    completes = SecondStages(entries=scored.entries, starts=starts)
    return replace(scored, left_out=scenes.left_out | left_out), completes


def _starts(
    scenes: SplitScenes, prepared: Callable[[str], ScoringScene], unprepared: Mapping[str, str]
) -> tuple[dict[str, Start], dict[str, str]]:
    """When and where each scene starts, and why that is unknown for others. Scenes that failed are
    read from their source."""
    starts: dict[str, Start] = {}
    unknown: dict[str, str] = {}
    for token in scenes.tokens:
        if token not in unprepared:
            scene = prepared(token)
            starts[token] = (scene.time_us, scene.ego[: HEADING + 1])
            continue
        try:
            starts[token] = scenes.source.start(token)
        except UnreadableClip as error:
            unknown[token] = str(error)
    return starts, unknown


def _problem(entry: SecondStage, starts: Mapping[str, Start], unknown: Mapping[str, str]) -> str | None:
    """Why an entry cannot be scored; None where it can."""
    tokens = [token for pair in entry.pairs for token in pair]
    if lost := [token for token in tokens if token in unknown]:
        return f"{lost[0]} ({len(lost)} of {counted(len(tokens), 'scene')}): {unknown[lost[0]]}"
    apart = {pair: interval_s(starts[pair[0]][0], starts[pair[1]][0]) for pair in entry.pairs}
    wrong = [pair for pair, seconds in apart.items() if not 0.0 < seconds < FARTHEST_S]
    if not wrong:
        return None
    now, previous = wrong[0]
    return (
        f"{now} starts {apart[wrong[0]]:g} s after {previous} ({len(wrong)} of {len(apart)} "
        "pairs); expected more than 0 and "
        f"less than {FARTHEST_S} s"
    )


def _original_rows(entries: Iterable[SecondStage], tokens: tuple[str, ...]) -> Int64[np.ndarray, "N"]:
    """Row of the first-stage scene that each scene follows, now after now and previous after
    previous; -1 for that scene."""
    row = {token: number for number, token in enumerate(tokens)}
    original = np.full(len(tokens), -1, np.int64)
    for entry in entries:
        for now, previous in entry.followers:
            original[row[now]], original[row[previous]] = row[entry.now], row[entry.previous]
    return original
