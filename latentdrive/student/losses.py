"""What the student learns from: the teacher's distributions, optionally its codes, and its features.

After model.py. Every slot is compared on the prefix that the store records: both sides have been given the same earlier codes.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from latentdrive.errors import WrongShape
from latentdrive.types import LatentFeatures


def slot_divergence(
    student: Float[Tensor, "B A K"], teacher: Float[Tensor, "B A K"], *, temperature: float
) -> Float[Tensor, "B A"]:
    """KL(teacher ‖ student) of the softened distributions of every slot, nats; 0 for equal logits."""
    log_p = F.log_softmax(teacher.float() / temperature, dim=-1)
    log_q = F.log_softmax(student.float() / temperature, dim=-1)
    return F.kl_div(log_q, log_p, log_target=True, reduction="none").sum(-1)


def distillation(
    student: Float[Tensor, "B A K"], teacher: Float[Tensor, "B A K"], *, temperature: float
) -> Float[Tensor, ""]:
    """Mean divergence over slots times temperature² (Hinton et al., arXiv:1503.02531, section 2: gradients keep their size)."""
    return slot_divergence(student, teacher, temperature=temperature).mean() * temperature**2


def hard_labels(student: Float[Tensor, "B A K"], codes: Int64[Tensor, "B A"]) -> Float[Tensor, ""]:
    """Cross-entropy against the teacher's codes, nats a slot."""
    return F.cross_entropy(student.flatten(0, 1).float(), codes.flatten())


def feature_error(student: LatentFeatures, teacher: LatentFeatures) -> Float[Tensor, ""]:
    """Squared error of the features as a share of the teacher's mean square, mean of visual and action.

    1 is what predicting zero would give, whatever scale the teacher's states have; the student learns that scale too, so a
    planner can take either's features. Raises WrongShape where the student was built for another teacher.
    """
    shares = []
    for name in ("visual", "action"):
        ours, theirs = getattr(student, name).float(), getattr(teacher, name).float()
        if ours.shape != theirs.shape:
            raise WrongShape(
                f"{name} features: the student makes {list(ours.shape[1:])}, the store holds {list(theirs.shape[1:])} "
                "(tokens, width); set model.visual_grid, model.visual_width and model.action_width to the store's"
            )
        shares.append((ours - theirs).square().mean() / theirs.square().mean().clamp_min(1e-12))
    return (shares[0] + shares[1]) / 2


def judge(student: Float[Tensor, "B A K"], teacher: Float[Tensor, "B A K"]) -> dict[str, Float[Tensor, "B A"]]:
    """Divergence from the teacher (nats) and whether the likeliest codes agree, slot by slot."""
    return {
        "kl": slot_divergence(student, teacher, temperature=1.0),
        "top1": (student.argmax(-1) == teacher.argmax(-1)).to(torch.float32),
    }
