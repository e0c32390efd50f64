"""Do the codes matter? Held-out errors of the predicted next frame with true, shuffled and zeroed codes.

An error below that of copying, or a high perplexity, proves nothing: a decoder can ignore its codes. What
counts is how much larger the error becomes with the codes of another clip.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from latentdrive.codebook.judging.health import perplexity
from latentdrive.codebook.losses import transition_error
from latentdrive.codebook.model import Codebook, Observation
from latentdrive.data.batches.transitions import TransitionBatch, with_motion
from latentdrive.statistics import Interval, ratio_by_drive, recording_of

CASES = ("true", "ego_shuffled", "environment_shuffled", "both_shuffled", "zeroed", "copy")


@dataclass(frozen=True, kw_only=True)
class Codes:
    """Codes of N held-out transitions.

    motion: dx, dy (metres), dyaw (radians) over the transition and speed (m/s) at its start. clip,
    start: the window that the transition belongs to, by its clip and first frame. place: number of the
    transition in its window.
    """

    environment: Int64[np.ndarray, "N E"]
    ego: Int64[np.ndarray, "N A"]
    motion: Float64[np.ndarray, "N 4"]
    clip: Int64[np.ndarray, "N"]
    start: Int64[np.ndarray, "N"]
    place: Int64[np.ndarray, "N"]

    @property
    def by_book(self) -> dict[str, Int64[np.ndarray, "N slots"]]:
        """The codes of each book that has slots."""
        books = {"environment": self.environment, "ego": self.ego}
        return {book: codes for book, codes in books.items() if codes.size}

    def perplexities(self, book: str) -> tuple[float, list[float]]:
        """Perplexity over all slots and of each slot; book: `environment` or `ego`."""
        codes = self.by_book[book]
        entries = int(codes.max()) + 1  # a code that never occurs changes no perplexity
        counts = np.stack([np.bincount(slot, minlength=entries) for slot in codes.T])
        overall = perplexity(torch.tensor(counts.sum(0)).float()).item()
        return overall, perplexity(torch.tensor(counts).float()).tolist()


@dataclass(frozen=True, kw_only=True)
class Coded(Codes):
    """Codes and the errors of the predictions from them.

    errors: case → error of each transition: of features and of pixels, each as a share of its mean copy
    error, and averaged. drives: number of each transition's drive, as `drive_numbers` gives it; an
    interval resamples whole drives. blocks: number of each transition's block, where an interval
    resamples blocks in place of drives.
    """

    errors: dict[str, Float64[np.ndarray, "N"]]
    drives: Int64[np.ndarray, "N"]
    blocks: Int64[np.ndarray, "N"] | None = None

    @property
    def resampled(self) -> Int64[np.ndarray, "N"]:
        """What an interval draws as a whole: drives, or blocks where they were asked for."""
        return self.drives if self.blocks is None else self.blocks

    @property
    def unit(self) -> str:
        """What `resampled` numbers."""
        return "drive" if self.blocks is None else "block"

    def share(self, case: str, of: str) -> Interval:
        """Mean error in `case` divided by that in `of`, with its interval."""
        return replace(ratio_by_drive(self.errors[case], self.errors[of], self.resampled), unit=self.unit)

    def summary(self) -> dict[str, float]:
        """Share of the copy error, costs of other codes (0.05 is 5 % more error), intervals, perplexities."""
        share = self.share("true", of="copy")
        numbers = {"share_of_copy": share.mean, "share_of_copy_low": share.low, "share_of_copy_high": share.high}
        for case in CASES[1:]:
            if case in self.errors:
                cost = self.share(case, of="true")
                numbers |= {
                    f"cost_{case}": cost.mean - 1,
                    f"cost_{case}_low": cost.low - 1,
                    f"cost_{case}_high": cost.high - 1,
                }
        for book in self.by_book:
            overall, slots = self.perplexities(book)
            numbers[f"{book}_perplexity"] = overall
            numbers |= {f"{book}_perplexity_slot_{i}": value for i, value in enumerate(slots)}
        numbers |= {"transitions": len(self.clip), "drives": len(np.unique(self.drives))}
        return numbers if self.blocks is None else numbers | {"blocks": share.drives}


def code(
    model: Codebook,
    batches: Iterable[TransitionBatch],
    *,
    features: float,
    pixels: float,
    drive: Callable[[int], str],
    block_frames: int | None = None,
) -> Coded:
    """Run a trained codebook over held-out windows.

    features, pixels: shares of the two targets, as in training. drive: the drive of a clip, by its
    index. block_frames: where set, intervals resample blocks of so many frames in place of drives: they
    then speak of these recordings alone. Shuffled codes come from another clip of the same batch, so
    batches must mix clips.
    """
    joined = _over(model, batches, _errors)
    errors = {}
    for case in CASES:
        if f"features/{case}" in joined:
            shares = [
                (w, joined[f"{kind}/{case}"] / joined[f"{kind}/copy"].mean())
                for kind, w in (("features", features), ("pixels", pixels))
            ]
            errors[case] = sum(w * share for w, share in shares) / (features + pixels)
    blocks = None if block_frames is None else joined["clip"] * 1_000_000 + joined["start"] // block_frames
    drives = drive_numbers(joined["clip"], drive)
    codes = {field.name: joined[field.name] for field in fields(Codes)}
    return Coded(errors=errors, drives=drives, blocks=blocks, **codes)


def drive_numbers(clip: Int64[np.ndarray, "N"], drive: Callable[[int], str]) -> Int64[np.ndarray, "N"]:
    """A number for the drive of each of these clips: that of the drive's first clip among them."""
    clips, place = np.unique(clip, return_inverse=True)
    first: dict[str, int] = {}
    numbers = [first.setdefault(recording_of(drive(int(index))), int(index)) for index in clips]
    return np.array(numbers, np.int64)[place]


def read_codes(model: Codebook, batches: Iterable[TransitionBatch]) -> Codes:
    """The codes without predictions, which is much cheaper than `code`."""
    return Codes(**_over(model, batches, lambda *_: {}))


@torch.no_grad()
def reader_agreement(model: Codebook, batches: Iterable[TransitionBatch]) -> float:
    """Share of the environment codes in which the reader (frames alone) and the encoder (with motion) agree.

    Over all transitions whose motion is known; NaN where none is.
    """
    model.eval()
    same, count = 0, 0
    for batch in (with_motion(batch) for batch in batches):
        if len(batch):
            seen = model.observe(batch.frames, batch.features)
            equal = model.read_environment(seen).codes == model.encode_environment(seen, batch.motion).codes
            same, count = same + int(equal.sum()), count + equal.numel()
    return same / count if count else math.nan


@torch.no_grad()
def _over(
    model: Codebook, batches: Iterable[TransitionBatch], more: Callable[..., dict[str, Tensor]]
) -> dict[str, np.ndarray]:
    """Codes of all transitions, and the arrays that `more` adds for every batch, by name."""
    model.eval()
    parts: list[dict[str, Tensor]] = []
    for batch in (usable(model, batch) for batch in batches):
        if not len(batch):
            continue
        seen = model.observe(batch.frames, batch.features)
        environment, vectors = None, None
        if model.environment_slots:
            environment = model.environment_codes(seen, batch.motion)
            vectors = model.environment_book.look_up(environment)
        ego = model.encode_ego(seen, vectors)
        times = seen.transitions
        part = {
            "environment": ego.codes.new_zeros(len(batch), times, 0) if environment is None else environment,
            "ego": ego.codes,
            "motion": batch.motion.double(),
            "clip": batch.clip[:, None].expand(-1, times),
            "start": batch.start[:, None].expand(-1, times),
            "place": torch.arange(times).expand(len(batch), -1),
        }
        parts.append({k: v.flatten(0, 1) for k, v in part.items()} | more(model, seen, batch, vectors, ego.vectors))
    return {key: torch.cat([part[key] for part in parts]).cpu().numpy() for key in parts[0]}


def usable(model: Codebook, batch: TransitionBatch) -> TransitionBatch:
    """The windows that the model can code: those with motion where it takes environment codes from the encoder."""
    return with_motion(batch) if model.environment_slots and model.environment_source == "encoder" else batch


def _errors(
    model: Codebook, seen: Observation, batch: TransitionBatch, environment: Tensor | None, ego: Tensor
) -> dict[str, Tensor]:
    first = (seen.features[:, :-1].flatten(0, 1), seen.pixels[:, :-1].flatten(0, 1))
    second = (seen.features[:, 1:].flatten(0, 1), seen.pixels[:, 1:].flatten(0, 1))
    other = other_clip(batch.clip)
    cases = {"true": (environment, ego), "ego_shuffled": (environment, ego[other])}
    if environment is not None:
        cases["environment_shuffled"] = (environment[other], ego)
        cases["both_shuffled"] = (environment[other], ego[other])
    cases["zeroed"] = (None if environment is None else torch.zeros_like(environment), torch.zeros_like(ego))
    errors = {}
    for case, (e, a) in cases.items():
        predicted = model.predict_from_codes(seen, e, a)
        error = transition_error(predicted.features, predicted.pixels, *second, None)
        errors |= {f"features/{case}": error.features.double(), f"pixels/{case}": error.pixels.double()}
    copied = transition_error(*first, *second, None)
    return errors | {"features/copy": copied.features.double(), "pixels/copy": copied.pixels.double()}


def other_clip(clip: Int64[Tensor, "B"]) -> Int64[Tensor, "B"]:
    """For each window the next one (cyclically) of another clip; itself where all windows are of one clip."""
    rows = torch.arange(len(clip))
    other = rows.clone()
    for step in range(len(clip) - 1, 0, -1):
        moved = rows.roll(-step)
        other = torch.where(clip[moved.to(clip.device)].cpu() != clip.cpu(), moved, other)
    return other
