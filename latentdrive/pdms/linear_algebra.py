"""Whether the linear algebra below numpy and torch is sound: checked once a process, before the first score.

Some builds of BLAS compute wrong products on some processors (numpy 1.23 on Intel's Cooper Lake and
Sapphire Rapids is the known one), and a score is then wrong without any error. So a fixed plan is
simulated and smoothed on the paths that every score takes, and compared with stored numbers; products
of many columns are compared with sums that BLAS has no part in. The check takes some milliseconds.
"""

import math
from functools import lru_cache

import numpy as np
import torch

from latentdrive.errors import BrokenLinearAlgebra
from latentdrive.pdms.scene import HEADING, STEERING, STEP_S, STEPS, VX, X, Y
from latentdrive.pdms.simulate import SPEED_FIT, simulate
from latentdrive.pdms.sub_scores.comfort import smooth

COLUMNS = 64  # as many trajectories at once as fill the blocks of BLAS's kernels
TOLERANCE = 1e-6  # rounding gives 1e-12, a wrong kernel metres
START_MPS, SPEED_MPS, ACCELERATION_MPS2, RADIUS_M = 6.0, 8.0, 0.5, 50.0  # of the fixed plan, a bend to the left
# What the score computes of it: its end after 4 s, and its speed at 2 s, smoothed and differentiated.
EXPECTED = {
    "x": 30.5859264691,
    "y": 11.339210411,
    "heading": 0.6849667489,
    "speed": 9.8058951151,
    "steering": 0.0413663284,
    "smoothed speed": 8.0,
    "acceleration": 0.5,
}
REMEDY = "set OPENBLAS_CORETYPE=Haswell before Python starts, or install another build of numpy and torch"


@lru_cache
def require_sound(device: str = "cpu") -> None:
    """Raise BrokenLinearAlgebra where the fixed plan does not end where it must. device: cpu or cuda."""
    found = dict(zip(EXPECTED, _of_the_plan(device)))
    wrong = [name for name, expected in EXPECTED.items() if not abs(found[name] - expected) <= TOLERANCE]
    if wrong:
        problem = f"a known plan gives {wrong[0]} {found[wrong[0]]:.9g}, expected {EXPECTED[wrong[0]]:.9g}"
    elif not (apart := _products_apart(device)) <= TOLERANCE:
        problem = f"a product of {COLUMNS} columns is off by {apart:.3g}"
    else:
        return
    raise BrokenLinearAlgebra(
        f"linear algebra on this machine ({device}; {description()}) is wrong: {problem}. Nothing is scored: {REMEDY}"
    )


def description() -> str:
    """The versions of numpy, of its BLAS and of torch."""
    blas = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    name = " ".join(filter(None, (blas.get("name"), blas.get("version")))) or "unknown BLAS"
    return f"numpy {np.__version__} with {name}, torch {torch.__version__}"


def _of_the_plan(device: str) -> list[float]:
    """The numbers of EXPECTED; NaN where they can't be computed."""
    times = torch.arange(STEPS, dtype=torch.float64) * STEP_S
    heading = (SPEED_MPS * times + ACCELERATION_MPS2 / 2 * times**2) / RADIUS_M
    poses = torch.stack([RADIUS_M * torch.sin(heading), RADIUS_M * (1 - torch.cos(heading)), heading], -1)
    start = torch.zeros(1, 11, dtype=torch.float64)
    start[:, VX] = START_MPS
    try:
        states = simulate(start.to(device), poses[None].to(device)).cpu()
    except (ValueError, ArithmeticError):  # a NaN that is to be rounded
        return [math.nan] * len(EXPECTED)
    line = (SPEED_MPS + ACCELERATION_MPS2 * (times - times[STEPS // 2])).to(device)
    smoothed = [float(smooth(line, 15, 2, derivative)[STEPS // 2]) for derivative in (0, 1)]
    return [*states[0, -1, [X, Y, HEADING, VX, STEERING]].tolist(), *smoothed]


def _products_apart(device: str) -> float:
    """How far products of numpy and torch are from sums of products; NaN where one of them is."""
    columns = np.sin(np.arange(SPEED_FIT.shape[1] * COLUMNS, dtype=np.float64)).reshape(-1, COLUMNS)
    expected = (SPEED_FIT[:, :, None] * columns[None]).sum(1)
    products = (
        SPEED_FIT @ columns,
        (torch.from_numpy(SPEED_FIT).to(device) @ torch.from_numpy(columns).to(device)).cpu().numpy(),
    )
    return float(np.max([np.abs(product - expected).max() for product in products]))
