"""What the networks of each phase give for a batch: predicted next frames, codes, and a reading of the codes.

phases.py says which phase a step belongs to, losses.py what is minimised in it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from latentdrive.codebook.forward_dynamics import Prediction
from latentdrive.codebook.model import Codebook, Observation
from latentdrive.codebook.phases import enter
from latentdrive.codebook.quantizer import Quantized
from latentdrive.counting import counted
from latentdrive.data.batches.transitions import TransitionBatch, with_motion
from latentdrive.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PhaseOutput:
    """Output of one phase for the windows `batch`; all fields below `batch` are None where the phase has no such part.

    seen: the frames as the networks see them. prediction: of the next frames. code: the codes that are
    learned. commitment_weight: weight of `code.commitment`, the book's. relearned: weighted commitment
    of a reader that learns again in phase ego. read, target: the reader's codes, and the encoder's
    codes that it should give. motion, true_motion: of the ego, predicted and recorded, scaled by the
    model. shuffled: the prediction with the codes of the next window of the batch.
    """

    phase: str
    batch: TransitionBatch
    seen: Observation | None = None
    prediction: Prediction | None = None
    code: Quantized | None = None
    commitment_weight: float = 0.0
    relearned: Float[Tensor, ""] | None = None
    read: Quantized | None = None
    target: Int64[Tensor, "B T E"] | None = None
    motion: Float[Tensor, "B T 3"] | None = None
    true_motion: Float[Tensor, "B T 3"] | None = None
    shuffled: Prediction | None = None


def run_phase(
    model: Codebook, batch: TransitionBatch, phase: str, *, quantised: bool, shuffled: bool = False
) -> PhaseOutput:
    """Run the networks of `phase` on the windows that it can use; without such a window, `seen` stays None.

    quantised: whether codes come from the book, see PhaseSchedule.open_share. shuffled: predict with
    other windows' codes, too. A model in training mode is first prepared for the phase. Raises
    ConfigError where one of several devices has too few windows with poses: either all devices make a
    book in a step or none does.
    """
    if model.training:
        enter(model, phase)
    if phase != "ego" or model.environment_source == "encoder":
        batch = with_motion(batch)
        if len(batch) < (2 if model.training else 1):  # batch statistics need two windows
            if model.training and torch.distributed.is_available() and torch.distributed.is_initialized():
                raise ConfigError(
                    f"a device has {counted(len(batch), 'window')} with poses in its batch, and needs 2: raise "
                    "batches.batch_size, add clips with poses, or train on one device (trainer.devices=1)"
                )
            return PhaseOutput(phase=phase, batch=batch)
    seen = model.observe(batch.frames, batch.features)
    if phase == "reader":
        with torch.no_grad():
            target = model.encode_environment(seen, batch.motion).codes
        return PhaseOutput(phase=phase, batch=batch, seen=seen, read=model.read_environment(seen), target=target)
    if phase == "motion":
        prediction = model.predict_from_motion(seen, batch.motion, None)
        return PhaseOutput(phase=phase, batch=batch, seen=seen, prediction=prediction)
    if phase == "environment":
        return _environment(model, batch, seen, quantised=quantised, shuffled=shuffled)
    return _ego(model, batch, seen, quantised=quantised, shuffled=shuffled)


def _environment(
    model: Codebook, batch: TransitionBatch, seen: Observation, *, quantised: bool, shuffled: bool
) -> PhaseOutput:
    code = model.encode_environment(seen, batch.motion, quantised=quantised)
    other = code.vectors.roll(1, 0)
    return PhaseOutput(
        phase="environment",
        batch=batch,
        seen=seen,
        prediction=model.predict_from_motion(seen, batch.motion, code.vectors),
        code=code,
        commitment_weight=model.environment_book.commitment,
        shuffled=model.predict_from_motion(seen, batch.motion, other) if shuffled else None,
    )


def _ego(model: Codebook, batch: TransitionBatch, seen: Observation, *, quantised: bool, shuffled: bool) -> PhaseOutput:
    environment = relearned = motion = None
    if model.environment_slots:
        if model.environment_source == "relearned":
            read = model.read_environment(seen)
            environment, relearned = read.vectors, model.environment_book.commitment * read.commitment
        else:
            environment = model.environment_book.look_up(model.environment_codes(seen, batch.motion))
    code = model.encode_ego(seen, environment, quantised=quantised)
    prediction = model.predict_from_codes(seen, environment, code.vectors)
    if model.motion_head is not None:
        motion = model.motion_head(code.vectors.flatten(2))
    other = code.vectors.roll(1, 0)
    return PhaseOutput(
        phase="ego",
        batch=batch,
        seen=seen,
        prediction=prediction,
        code=code,
        commitment_weight=model.ego_book.commitment,
        relearned=relearned,
        motion=motion,
        true_motion=(batch.motion / model.motion_scale)[..., :3],
        shuffled=model.predict_from_codes(seen, environment, other) if shuffled else None,
    )
