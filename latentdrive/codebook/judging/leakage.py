"""The leakage matrix: how well ego codes and environment codes predict the motion of the ego and of others.

Good ego codes say how the ego moved and nothing of the others; good environment codes the reverse. The
present frame alone gives the lowest value to expect. Only the built-in world knows the truth, on drives
where ego and others move independently.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float64

from latentdrive.codebook.batches import TrueClips
from latentdrive.codebook.judging.evaluation import Codes, drive_numbers, read_codes
from latentdrive.codebook.judging.probe import EGO_TARGETS, ProbeResult, one_hot, probe
from latentdrive.codebook.model import Codebook
from latentdrive.data.batches.transitions import TransitionBatch
from latentdrive.data.clips.clip_truth import others_motion
from latentdrive.errors import ConfigError
from latentdrive.geometry import nearest_rows
from latentdrive.progress import Progress, unwatched
from latentdrive.statistics import ratio_by_drive

FRAME_CELLS = (3, 5)  # cells in which features are averaged where the present frame is a probe's input
SECTORS = ("left", "middle", "right")
# Percentiles at which the others' motion is cut. Otherwise one vehicle that passes close by outweighs a
# drive.
OUTLIERS = ([1.0], [99.0])
OTHERS = tuple(f"others {sector} {axis}" for sector in SECTORS for axis in ("across", "down"))


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """Results of all probes. results: (input, kind of probe) → ProbeResult.

    The inputs are `present frame`, `ego codes`, `environment codes`, and the frame together with each of them.
    """

    results: dict[tuple[str, str], ProbeResult]

    def others(self, source: str, kind: str) -> float:
        """R² of the others' motion, mean over sectors and axes."""
        return float(np.mean([self.results[source, kind].r2[name] for name in OTHERS]))

    def raw_others(self, source: str, kind: str) -> float:
        """R² of the others' motion with its outliers, mean over sectors and axes."""
        return float(np.mean([self.results[source, kind].r2[f"raw {name}"] for name in OTHERS]))

    def ego(self, source: str, kind: str) -> float:
        """R² of the ego's motion, mean of forward displacement and yaw change."""
        return float(np.mean([self.results[source, kind].r2[name] for name in EGO_TARGETS]))

    def _ends(self, source: str, kind: str, target: str) -> tuple[tuple[str, float], tuple[str, float]]:
        """Low and high end of the interval by drive of one target's R²."""
        result = self.results[source, kind]
        column = list(result.r2).index(target)
        true = result.true[:, column]
        unexplained = ratio_by_drive(
            np.square(result.predicted[:, column] - true), np.square(true - true.mean()), result.drives
        )
        return ("low", 1 - unexplained.high), ("high", 1 - unexplained.low)

    def matrix(self) -> dict[str, float]:
        """`input/target/kind` → R². The target `others` is the mean over sectors and axes."""
        matrix = {}
        for source, kind in self.results:
            r2 = self.results[source, kind].r2
            matrix |= {f"{source}/{name}/{kind}": r2[name] for name in (*EGO_TARGETS, *OTHERS)}
            matrix[f"{source}/others/{kind}"] = self.others(source, kind)
            matrix[f"{source}/raw others/{kind}"] = self.raw_others(source, kind)
            matrix[f"{source}/ego/{kind}"] = self.ego(source, kind)
            matrix |= {
                f"{source}/{name}/{kind}_{end}": value
                for name in EGO_TARGETS
                for end, value in self._ends(source, kind, name)
            }
        return matrix


def measure(
    model: Codebook, clips: TrueClips, batches: Iterable[TransitionBatch], *, seed: int, watch: Progress = unwatched
) -> Leakage:
    """Code the probe windows (one transition each), and read ego and others' motion from codes and present frames.

    batches: iterated twice. watch: shows the progress over them.
    """
    codes = read_codes(model, watch(batches, what="codes for the probes"))
    targets = {name: codes.motion[:, column] for name, column in EGO_TARGETS.items()}
    others = true_others(clips, codes, transition_s=model.transition_s)
    bounded = others.clip(*np.percentile(others, OUTLIERS, axis=0))
    targets |= {name: bounded[:, i] for i, name in enumerate(OTHERS)}
    targets |= {f"raw {name}": others[:, i] for i, name in enumerate(OTHERS)}
    present = present_frames(model, watch(batches, what="present frames"))
    inputs = {"present frame": present}
    for name, values in (("ego codes", codes.ego), ("environment codes", codes.environment)):
        if values.size:
            inputs[name] = one_hot(values, model.codes)
            inputs[f"present frame and {name}"] = np.concatenate([present, inputs[name]], 1)
    drives = drive_numbers(codes.clip, clips.drive)
    return Leakage(
        results={
            (name, kind): probe(x, targets, drives, kind=kind, seed=seed)
            for name, x in inputs.items()
            for kind in ("linear", "mlp")
        }
    )


def check_truth(clips: TrueClips, transition_s: float) -> None:
    """Raise ConfigError if the recorded truth covers a different time span than the codebook's transition."""
    truth = clips.truth(0)
    if truth is not None and abs(truth.transition_s - transition_s) > 1e-6:
        raise ConfigError(
            f"the world's truth is over {truth.transition_s:g} s and this codebook's transition is {transition_s:g} s: "
            f"write a world with world.transition_s={transition_s:g}, or leave the probes out with data.probe=null"
        )


def true_others(clips: TrueClips, codes: Codes, *, transition_s: float) -> Float64[np.ndarray, "N 6"]:
    """Mean image motion that agents cause, per sector and axis, in per cent of the picture's width and height."""
    motion = np.zeros((len(codes.clip), len(OTHERS)))
    step = round(transition_s * clips.rate_hz)
    for index in np.unique(codes.clip):
        rows = np.flatnonzero(codes.clip == index)
        clip, truth = clips[int(index)], clips.truth(int(index))
        frames = nearest_rows(truth.times_s, clip.times_s)[codes.start[rows] + step * codes.place[rows]]
        motion[rows] = others_motion(truth, frames).reshape(len(rows), -1)
    return motion


@torch.no_grad()
def present_frames(model: Codebook, batches: Iterable[TransitionBatch]) -> Float64[np.ndarray, "N inputs"]:
    """Averaged features of each window's first frame, the input of a probe without codes."""
    cells = [F.adaptive_avg_pool2d(model.features(batch.frames[:, 0]), FRAME_CELLS).flatten(1) for batch in batches]
    return torch.cat(cells).double().cpu().numpy()
