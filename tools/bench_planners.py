"""What planners cost: size, time and memory of each, and the share of a training step of iPad that
true scores take.

    python tools/bench_planners.py                                     # prints; about ten minutes on two CPU cores
    python tools/bench_planners.py --out docs/results/bench_planners.json
    python tools/bench_planners.py --planners ipad_tiny --steps        # the share of scoring alone
    python tools/bench_planners.py --profile                           # where scoring spends its time; writes nothing

planner_costs.py and planner_steps.py say what is measured. Times are medians. Each planner is
measured in a process of its own, one after the other. If there is a GPU, frames a second are
measured on it, too.
"""

import argparse
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from planner_costs import cost
from planner_steps import profile, step_of, step_times
from records import write_record
from rich.console import Console
from rich.table import Table

from latentdrive.config import configs_folder

PLANNERS = ("ego_mlp", "ltf", "transfuser", "ipad")
STEPS = {"ipad_tiny": None, "ipad": 2}  # scenes of the training steps that are taken apart; None: as configured


def main() -> None:
    """Measure, print tables and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planners", nargs="+", default=PLANNERS)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=2, help="scenes of the timed forward and backward pass")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", action="store_true", help="only the training steps of the planners named that score")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.profile:
        profile(step_of("ipad_tiny", None, "cpu"))
        return
    measured: dict[str, Any] = {"threads": options.threads, "rounds": options.rounds}
    if not options.steps:
        names = [name for name in options.planners if is_configured(name)]
        measured["planners"] = {
            name: in_own_process(cost, name, options.threads, options.batch, options.rounds) for name in names
        }
        show_costs(measured["planners"])
    scoring = [name for name in STEPS if is_configured(name) and (not options.steps or name in options.planners)]
    measured["training_steps"] = {
        name: in_own_process(step_times, name, options.threads, STEPS[name], options.rounds) for name in scoring
    }
    show_steps(measured["training_steps"])
    if options.out:
        write_record(options.out, **measured)


def is_configured(name: str) -> bool:
    """Whether there is a planner of this name; prints a line if there is none."""
    if (configs_folder() / f"planner/{name}.yaml").is_file():
        return True
    print(f"bench_planners: configs/planner/{name}.yaml does not exist, so {name} is left out")
    return False


def in_own_process(call: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a call in a process of its own, so that the peak of memory is that of the call."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


def show_costs(measured: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a row for each planner."""
    table = Table(
        "planner", "M parameters", "latency ms", "forward ms", "forward + backward ms", "MB in use", "in training"
    )
    for name, numbers in measured.items():
        keys = ("latency_ms", "forward_ms", "forward_backward_ms", "peak_mb_in_use", "peak_mb_in_training")
        table.add_row(name, f"{numbers['parameters'] / 1e6:.2f}", *(f"{numbers[key]:,.0f}" for key in keys))
    Console().print(table)
    for name, numbers in measured.items():
        if "cuda" in numbers:
            print(name, numbers["cuda"])


def show_steps(measured: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """Print a column for each planner and device."""
    columns = {f"{name}, {device}": parts for name, devices in measured.items() for device, parts in devices.items()}
    table = Table("training step", *columns)
    for key in next(iter(columns.values()), {}):
        numbers = [parts[key] for parts in columns.values()]
        table.add_row(
            key, *(f"{x:.1%}" if "share" in key else f"{x:,.1f}" if key.endswith("_ms") else str(x) for x in numbers)
        )
    Console().print(table)


if __name__ == "__main__":
    main()
