"""The dictionary of the ego codes: what happens when each code appears.

Runs a trained codebook over held-out windows and collects for each code how often each slot gives it,
how the ego moved, how the predicted picture moves, which code follows, and a few typical transitions
with the true and the predicted next frame. The report draws it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from torch import Tensor

from latentdrive.codebook.forward_dynamics import Prediction, warp
from latentdrive.codebook.judging.evaluation import other_clip, usable
from latentdrive.codebook.judging.probe import EGO_TARGETS
from latentdrive.codebook.model import Codebook, Observation
from latentdrive.data.batches.clip_batches import HeldOut
from latentdrive.data.batches.transitions import TransitionBatch
from latentdrive.errors import NoClips, StoreError
from latentdrive.files import read_arrays, write_atomic

TRANSPLANTS = 6  # pairs of clips to show
ARROWS = (6, 10)  # places down and across at which the picture's motion is stored
FIRST, NEXT, PREDICTED = 0, 1, 2  # order of an example's pictures


@dataclass(frozen=True, kw_only=True)
class Dictionary:
    """What N transitions say of K codes. A: ego slots of a transition. X: examples of a code. M: transplants.

    ego: the codes. motion: dx, dy (metres), dyaw (radians), and speed (m/s) at the start; 0 where
    `known` is False. flow: how the predicted picture moves, right and down, as shares of its width and
    height; NaN where forward dynamics predicts no flow. window, place: window of each transition, and
    its number in the window; the transitions of a window follow each other. follows: how often code i
    of a slot is followed by code j of the same slot. examples: rows of typical transitions of each
    code, -1 where there are fewer. pictures: of the examples, in the order FIRST, NEXT, PREDICTED.
    transplants: a frame of clip A and its next one, a frame of clip B, and the prediction from B's
    frame with A's ego codes. transition_s: length of a transition. codebook_id: fingerprint of the
    codebook.
    """

    ego: Int64[np.ndarray, "N A"]
    motion: Float64[np.ndarray, "N 4"]
    known: Bool[np.ndarray, "N"]
    flow: Float64[np.ndarray, "N 2 down across"]
    window: Int64[np.ndarray, "N"]
    place: Int64[np.ndarray, "N"]
    follows: Int64[np.ndarray, "K K"]
    examples: Int64[np.ndarray, "K X"]
    pictures: UInt8[np.ndarray, "K X 3 3 H W"]
    transplants: UInt8[np.ndarray, "M 4 3 H W"]
    transition_s: float
    codebook_id: str

    @property
    def codes(self) -> int:
        """K, the number of codes."""
        return len(self.follows)

    def usage(self) -> Float64[np.ndarray, "A K"]:
        """Share of the transitions in which each slot gives each code."""
        counts = np.stack([np.bincount(slot, minlength=self.codes) for slot in self.ego.T])
        return counts / len(self.ego)

    def holding(self, code: int) -> Bool[np.ndarray, "N"]:
        """The transitions in which any slot gives `code`."""
        return (self.ego == code).any(1)

    def save(self, path: str | Path) -> None:
        """Write an .npz file that `load` reads, as a whole or not at all."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}

        def write(new: Path) -> None:
            with new.open("wb") as file:
                np.savez_compressed(file, **arrays)

        write_atomic(path, write)

    @classmethod
    def load(cls, path: str | Path) -> "Dictionary":
        """Read what `save` wrote. Raises StoreError where the file is damaged or of another version."""
        try:
            stored = read_arrays(path)
            arrays = {field.name: stored[field.name] for field in fields(cls)}
            scalars = {"transition_s": float(arrays["transition_s"]), "codebook_id": str(arrays["codebook_id"])}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{path} is no dictionary of codes ({error}): remove it, and the report makes it again"
            ) from None
        return cls(**arrays | scalars)


class _Coded(NamedTuple):
    """The codes of a batch of windows and the predictions from them, whose leading axis is B·T."""

    ego: Int64[Tensor, "B T A"]
    prediction: Prediction
    seen: Observation


@torch.no_grad()
def look_up(model: Codebook, batches: Sequence[TransitionBatch] | HeldOut, *, examples: int) -> Dictionary:
    """The dictionary of a trained codebook. batches: of held-out windows. examples: typical transitions of each code.

    `batches[i]` must be the same batch each time, because the windows of the examples are read again
    for their pictures. Raises NoClips where there is no window.
    """
    model.eval()
    parts: list[dict[str, Tensor]] = []
    for number in range(len(batches)):
        parts.append(_facts(model, usable(model, batches[number]), number))
    if not parts:
        raise NoClips("there is no held-out window to look codes up in: give longer clips, or another data.val")
    facts = {key: torch.cat([part[key] for part in parts]).numpy() for key in parts[0]}
    ego, clip = facts["ego"], facts["clip"]
    typical = _typical(ego, facts["motion"], facts["known"], clip, codes=model.codes, examples=examples)
    pictures = np.zeros((model.codes, examples, 3, 3, model.height, model.width_px), np.uint8)
    for number in np.unique(facts["batch"][typical[typical >= 0]]):
        shown = _pictures(model, usable(model, batches[int(number)]))
        for code, example in np.argwhere((typical >= 0) & (facts["batch"][typical] == number)):
            pictures[code, example] = shown[facts["row"][typical[code, example]]]
    window = np.cumsum(facts["place"] == 0) - 1
    return Dictionary(
        ego=ego,
        motion=facts["motion"],
        known=facts["known"],
        flow=facts["flow"],
        window=window,
        place=facts["place"],
        follows=_follows(ego, window, model.codes),
        examples=typical,
        pictures=pictures,
        transplants=_transplants(model, batches, count=TRANSPLANTS),
        transition_s=float(model.transition_s),
        codebook_id=model.codebook_id,
    )


def next_pictures(model: Codebook, seen: Observation, prediction: Prediction) -> UInt8[Tensor, "N 3 H W"]:
    """Predicted next frames at full size: the first frame moved along the flow, plus the enlarged small correction."""
    first, small = seen.pictures[:, :-1].flatten(0, 1), seen.pixels[:, :-1].flatten(0, 1)
    if prediction.flow is not None:
        first, small = warp(first, prediction.flow, model.grid), warp(small.float(), prediction.flow, model.grid)
    correction = F.interpolate(
        (prediction.pixels - small).float(), first.shape[-2:], mode="bilinear", align_corners=False
    )
    return _uint8(first + correction)


def _transplants(
    model: Codebook, batches: Sequence[TransitionBatch] | HeldOut, *, count: int
) -> UInt8[np.ndarray, "N 4 3 H W"]:
    """Pictures of transplants: A's frame and its next one, B's frame, and the prediction from it with A's ego code.

    Of the first transition of each window; the `count` pairs whose motions differ most, with each clip
    at most once as A.
    """
    columns = list(EGO_TARGETS.values())
    shown: dict[int, tuple[float, Tensor]] = {}  # clip of A → (distance of the motions of A and B, pictures)
    for batch in (usable(model, batches[number]) for number in range(len(batches))):
        if len(batch) < 2:
            continue
        seen = model.observe(batch.frames[:, :2])
        environment = None
        if model.environment_slots:
            environment = model.environment_book.look_up(model.environment_codes(seen, batch.motion[:, :1]))
        other = other_clip(batch.clip)
        ego = model.encode_ego(seen, environment).vectors[other]
        moved = next_pictures(model, seen, model.predict_from_codes(seen, environment, ego))
        motion = batch.motion[:, 0, columns] / model.motion_scale[columns]
        apart = (motion - motion[other]).norm(dim=1)
        for row in range(len(batch)):
            a = int(batch.clip[other[row]])
            if a == int(batch.clip[row]) or (a in shown and shown[a][0] >= float(apart[row])):
                continue
            frames = [*batch.frames[other[row], :2], batch.frames[row, 0], moved[row].to(batch.frames.device)]
            shown[a] = float(apart[row]), torch.stack(frames).cpu()
    best = sorted(shown.values(), key=lambda pair: -pair[0])[:count]
    size = (0, 4, 3, model.height, model.width_px)
    return torch.stack([pictures for _, pictures in best]).numpy() if best else np.zeros(size, np.uint8)


def _code(model: Codebook, batch: TransitionBatch) -> _Coded:
    seen, vectors = model.observe(batch.frames), None
    if model.environment_slots:
        vectors = model.environment_book.look_up(model.environment_codes(seen, batch.motion))
    ego = model.encode_ego(seen, vectors)
    return _Coded(ego.codes, model.predict_from_codes(seen, vectors, ego.vectors), seen)


def _facts(model: Codebook, batch: TransitionBatch, number: int) -> dict[str, Tensor]:
    coded = _code(model, batch)
    windows, times = coded.ego.shape[:2]
    rows = windows * times
    return {
        "ego": coded.ego.flatten(0, 1).cpu(),
        "motion": batch.motion.flatten(0, 1).double().cpu(),
        "known": batch.motion_known[:, None].expand(-1, times).flatten().cpu(),
        "flow": _picture_motion(coded.prediction.flow, model.grid, rows),
        "clip": batch.clip[:, None].expand(-1, times).flatten().cpu(),
        "place": torch.arange(times).repeat(windows),
        "batch": torch.full((rows,), number),
        "row": torch.arange(rows),
    }


def _picture_motion(
    flow: Float[Tensor, "N 2 fh fw"] | None, grid: tuple[int, int], rows: int
) -> Float64[Tensor, "N 2 down across"]:
    if flow is None:
        return torch.full((rows, 2, *ARROWS), float("nan"), dtype=torch.float64)
    size = torch.tensor([grid[1], grid[0]], dtype=torch.float64)[None, :, None, None]
    return (
        -F.adaptive_avg_pool2d(flow.float(), ARROWS).double().cpu() / size
    )  # backward flow: a place is fetched from where it was


def _pictures(model: Codebook, batch: TransitionBatch) -> UInt8[np.ndarray, "N 3 3 H W"]:
    coded = _code(model, batch)
    true = (coded.seen.pictures[:, :-1].flatten(0, 1), coded.seen.pictures[:, 1:].flatten(0, 1))
    shown = [_uint8(true[0]), _uint8(true[1]), next_pictures(model, coded.seen, coded.prediction)]
    return torch.stack(shown, 1).cpu().numpy()


def _typical(
    ego: Int64[np.ndarray, "N A"],
    motion: Float64[np.ndarray, "N 4"],
    known: Bool[np.ndarray, "N"],
    clip: Int64[np.ndarray, "N"],
    *,
    codes: int,
    examples: int,
) -> Int64[np.ndarray, "K X"]:
    """Rows that hold each code in its most frequent slot, of different clips where there are any.

    Where motion is known, rows nearest to the code's mean motion come first.
    """
    chosen = np.full((codes, examples), -1, np.int64)
    scale = motion[:, [0, 2]].std(0).clip(1e-6)
    for code in range(codes):
        slot = int((ego == code).sum(0).argmax())
        rows = np.flatnonzero(ego[:, slot] == code)
        moving = rows[known[rows]]
        if len(moving):
            moved = motion[moving][:, [0, 2]] / scale
            rows = moving[np.argsort(np.linalg.norm(moved - moved.mean(0), axis=1), kind="stable")]
        _, firsts = np.unique(clip[rows], return_index=True)
        firsts = np.sort(firsts)
        order = [*firsts, *np.setdiff1d(np.arange(len(rows)), firsts)][:examples]
        chosen[code, : len(order)] = rows[order]
    return chosen


def _follows(ego: Int64[np.ndarray, "N A"], window: Int64[np.ndarray, "N"], codes: int) -> Int64[np.ndarray, "K K"]:
    counts = np.zeros((codes, codes), np.int64)
    same = window[1:] == window[:-1]
    np.add.at(counts, (ego[:-1][same].ravel(), ego[1:][same].ravel()), 1)
    return counts


def _uint8(pictures: Float[Tensor, "N 3 H W"]) -> UInt8[Tensor, "N 3 H W"]:
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
