"""What do codes say? Probes that read the motion of the ego and of others, tested on held-out drives.

A linear (ridge) and a small non-linear probe read targets from one-hot codes. They are meant for the world's
decorrelated probe part, where ego and others move independently: in natural traffic one predicts the other,
and a leak can't be told from a correlation.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float64, Int64
from torch import nn

RIDGE_STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
MLP_WIDTH, MLP_STEPS, MLP_RATE, MLP_DECAY = 64, 600, 3e-3, 1e-2
EGO_TARGETS = {"forward displacement": 0, "yaw change": 2}  # columns of the motion


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """r2: target → coefficient of determination on held-out drives. predicted, true, drives: of the held-out rows."""

    r2: dict[str, float]
    predicted: Float64[np.ndarray, "N targets"]
    true: Float64[np.ndarray, "N targets"]
    drives: Int64[np.ndarray, "N"]


def one_hot(codes: Int64[np.ndarray, "N slots"], entries: int) -> Float64[np.ndarray, "N inputs"]:
    """Codes as one-hot inputs of a probe, the slots side by side."""
    return np.eye(entries)[codes].reshape(len(codes), -1)


def r2(predicted: Float64[np.ndarray, "N"], true: Float64[np.ndarray, "N"]) -> float:
    """1 − squared error / variance: 0 for predicting the mean, negative for worse; NaN for a constant target."""
    deviation = np.square(true - true.mean()).sum()
    return float(1 - np.square(predicted - true).sum() / deviation) if deviation else math.nan


def probe(
    inputs: Float64[np.ndarray, "N inputs"],
    targets: dict[str, Float64[np.ndarray, "N"]],
    drives: Int64[np.ndarray, "N"],
    *,
    kind: Literal["linear", "mlp"],
    seed: int,
) -> ProbeResult:
    """Fit a probe on half of the drives, choose its strength on a quarter of that half, and test it on the rest."""
    order = np.random.default_rng(seed).permutation(np.unique(drives))
    held_out = np.isin(drives, order[: len(order) // 2])
    choosing = np.isin(drives, order[len(order) // 2 :][: max(1, len(order) // 8)])
    fitting = ~held_out & ~choosing
    y = np.stack(list(targets.values()), 1)
    mean, scale = y[fitting].mean(0), y[fitting].std(0).clip(1e-9)
    y = (y - mean) / scale
    spread = inputs[fitting].std(0)
    x = (inputs - inputs[fitting].mean(0)) / np.where(spread > 1e-6, spread, 1.0)
    predicted = _ridge(x, y, fitting, choosing) if kind == "linear" else _mlp(x, y, fitting, choosing, seed)
    predicted, true = predicted[held_out] * scale + mean, y[held_out] * scale + mean
    return ProbeResult(
        r2={name: r2(predicted[:, i], true[:, i]) for i, name in enumerate(targets)},
        predicted=predicted,
        true=true,
        drives=drives[held_out],
    )


def _ridge(x: np.ndarray, y: np.ndarray, fitting: np.ndarray, choosing: np.ndarray) -> np.ndarray:
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    square, cross = x[fitting].T @ x[fitting], x[fitting].T @ y[fitting]
    fits = []  # (error on the drives that choose, prediction) of each strength
    for strength in RIDGE_STRENGTHS:
        weights = np.linalg.solve(square + strength * np.eye(len(square)), cross)
        fits.append((np.square(x[choosing] @ weights - y[choosing]).mean(0), x @ weights))
    best = np.argmin([error for error, _ in fits], 0)  # each target has a strength of its own
    return np.stack([fits[b][1][:, i] for i, b in enumerate(best)], 1)


def _mlp(x: np.ndarray, y: np.ndarray, fitting: np.ndarray, choosing: np.ndarray, seed: int) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(x.shape[1], MLP_WIDTH),
            nn.GELU(),
            nn.Linear(MLP_WIDTH, MLP_WIDTH),
            nn.GELU(),
            nn.Linear(MLP_WIDTH, y.shape[1]),
        )
    optimizer = torch.optim.AdamW(net.parameters(), MLP_RATE, weight_decay=MLP_DECAY)
    inputs, targets = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
    rows = torch.tensor(np.flatnonzero(fitting))
    best, best_error = None, np.full(y.shape[1], np.inf)
    for step in range(MLP_STEPS):
        picked = rows[torch.randint(len(rows), (256,), generator=generator)]
        optimizer.zero_grad()
        F.mse_loss(net(inputs[picked]), targets[picked]).backward()
        optimizer.step()
        if step % 25 == 24:
            with torch.no_grad():
                predicted = net(inputs).double().numpy()
            error = np.square(predicted[choosing] - y[choosing]).mean(0)
            best = predicted.copy() if best is None else np.where(error < best_error, predicted, best)
            best_error = np.minimum(error, best_error)
    return best
