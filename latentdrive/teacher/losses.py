"""What the teacher is trained by and judged by: negative log-likelihood over the K codes, in nats a slot.

After model.py. The softmax runs over the K codes alone (logits of all other tokens play no part), so nats compare with the
entropy of codes and with a code-only model.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


def slot_nats(logits: Float[Tensor, "B A K"], codes: Int64[Tensor, "B A"]) -> Float[Tensor, "B A"]:
    """-log p(code) of every slot, in nats; log K for equal logits."""
    return F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none").unflatten(0, codes.shape)


def both_ways(
    autoregressive: Float[Tensor, "B A K"],
    one_pass: Float[Tensor, "B A K"],
    codes: Int64[Tensor, "B A"],
    *,
    autoregressive_weight: float,
    one_pass_weight: float,
) -> Float[Tensor, ""]:
    """Weighted sum of the mean nats of ordinary decoding (given the true earlier codes) and of the one pass."""
    ordinary = slot_nats(autoregressive, codes).mean()
    return autoregressive_weight * ordinary + one_pass_weight * slot_nats(one_pass, codes).mean()


def judge(
    autoregressive: Float[Tensor, "B A K"],
    one_pass: Float[Tensor, "B A K"],
    codes: Int64[Tensor, "B A"],
    *,
    codes_per_transition: int,
) -> dict[str, Float[Tensor, "B"]]:
    """Numbers of every scene apart, for means and for a paired bootstrap over drives.

    nats: ordinary decoding, mean over slots; nats_first: over the slots of the first transition; one_pass_nats, _first: of
    the one pass; top1: share of slots whose likeliest code, given the true earlier ones, is the true one.
    """
    ordinary, parallel = slot_nats(autoregressive, codes), slot_nats(one_pass, codes)
    first = slice(0, codes_per_transition)
    return {
        "nats": ordinary.mean(1),
        "nats_first": ordinary[:, first].mean(1),
        "one_pass_nats": parallel.mean(1),
        "one_pass_nats_first": parallel[:, first].mean(1),
        "top1": (autoregressive.argmax(-1) == codes).float().mean(1),
    }


def agreement(first: Int64[Tensor, "B A"], second: Int64[Tensor, "B A"]) -> Float[Tensor, "B"]:
    """Share of slots in which two predictions of a scene name the same code."""
    return (first == second).to(torch.float32).mean(1)
