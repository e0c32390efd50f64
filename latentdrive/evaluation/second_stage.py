"""Two stages as one evaluation (navhard): what counts of a split's mapping, and the results of both stages joined by it.

Beside scoring.py, whose scores it completes as the extended comfort of one stage does; pdms/two_stage.py holds the rule. Traffic is
replayed from the log in both stages, where NAVSIM's own two-stage score lets vehicles react: the results say so.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float64

from latentdrive.data.navsim.scene_filter import SecondStage
from latentdrive.errors import NoScenes, UnreadableClip
from latentdrive.evaluation.results import Follows
from latentdrive.evaluation.scoring import Scored
from latentdrive.evaluation.split import Scenes
from latentdrive.geometry import compose
from latentdrive.pdms.scene import HEADING, ScoringScene
from latentdrive.pdms.score import EC
from latentdrive.pdms.sub_scores.extended_comfort import FARTHEST_S, interval_s
from latentdrive.pdms.two_stage import TERMS, StageRows, aggregate
from latentdrive.types import FROZEN

TRAFFIC = (
    "replayed from the log in both stages (non-reactive); in NAVSIM's own two-stage score vehicles react, so numbers of the two "
    "can't be compared"
)


@dataclass(**FROZEN)
class SecondStages:
    """Completes scores of both stages. starts: of every scene that counts, time of now (microseconds) and rear axle now, global."""

    entries: tuple[SecondStage, ...]
    starts: dict[str, tuple[int, Float64[np.ndarray, "3"]]]

    def __call__(self, scored: Scored) -> Scored:
        """The same with extended comfort and total of both scenes of each pair, and with what follows which, how near.

        A scene that failed scores 0; the other one of its pair is not comfortable, and those that follow it weigh the same.
        """
        results = scored.results
        poses = np.stack([self.starts[token][1] for token in results.tokens])
        terms = torch.from_numpy(np.stack([results.terms[name] for name in TERMS], -1))
        follows = _followed(self.entries, results.tokens)
        rows = StageRows(
            tokens=results.tokens,
            terms=terms,
            scored=terms,
            start_s=torch.tensor([self.starts[token][0] * 1e-6 for token in results.tokens], dtype=torch.float64),
            # A plan's own end, not where the simulated car came to.
            end_points=torch.from_numpy(compose(poses, scored.ends)[:, :2]),
            start_points=torch.from_numpy(poses[:, :2]),
            states=torch.from_numpy(scored.states),
            synthetic=torch.from_numpy(follows >= 0),
        )
        found = aggregate(self.entries, rows)
        joined = replace(
            results,
            terms=results.terms | {EC: found.extended_comfort.numpy()},
            score=found.score.numpy(),
            follows=Follows(row=follows, weight=found.weight.numpy()),
        )
        return replace(scored, results=joined)


def second_stages(
    scenes: Scenes, prepared: Callable[[str], ScoringScene], unprepared: dict[str, str]
) -> tuple[Scenes, SecondStages]:
    """What counts of a mapping, and how its scores are completed. prepared, unprepared: as in Course.

    An entry is left out, and named in `left_out`, where it can't be said when or where one of its scenes starts, or where two of a
    pair do not start within 0.55 s of each other. Raises NoScenes where none is left.
    """
    starts: dict[str, tuple[int, np.ndarray]] = {}
    nowhere: dict[str, str] = {}
    for token in scenes.tokens:
        if token not in unprepared:
            scene = prepared(token)
            starts[token] = (scene.time_us, scene.ego[: HEADING + 1])
            continue
        try:
            starts[token] = scenes.source.start(token)
        except UnreadableClip as error:
            nowhere[token] = str(error)
    left_out = {}
    for entry in scenes.entries:
        tokens = [token for pair in entry.pairs for token in pair]
        if lost := [token for token in tokens if token in nowhere]:
            left_out[entry.now] = f"{lost[0]} ({len(lost)} of {len(tokens)} scenes): {nowhere[lost[0]]}"
            continue
        apart = {pair: interval_s(starts[pair[0]][0], starts[pair[1]][0]) for pair in entry.pairs}
        if wrong := [pair for pair, seconds in apart.items() if not 0.0 < seconds < FARTHEST_S]:
            left_out[entry.now] = (
                f"{wrong[0][0]} starts {apart[wrong[0]]:g} s after {wrong[0][1]} ({len(wrong)} of {len(apart)} pairs); expected more "
                f"than 0 and less than {FARTHEST_S} s"
            )
    kept = scenes.of_entries(entry for entry in scenes.entries if entry.now not in left_out)
    if not kept.entries:
        name, reason = next(iter(left_out.items()))
        raise NoScenes(f"no entry of the two-stage mapping can be scored, the first one: {name}: {reason}")
    return replace(kept, left_out=scenes.left_out | left_out), SecondStages(entries=kept.entries, starts=starts)


def _followed(entries: tuple[SecondStage, ...], tokens: tuple[str, ...]) -> np.ndarray:
    """Row of the original scene that each follows, -1 for original ones: now follows now, previous follows previous."""
    row = {token: number for number, token in enumerate(tokens)}
    follows = np.full(len(tokens), -1, np.int64)
    for entry in entries:
        for now, previous in entry.followers:
            follows[row[now]], follows[row[previous]] = row[entry.now], row[entry.previous]
    return follows
