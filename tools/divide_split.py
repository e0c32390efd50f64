"""Divide the logs of a NAVSIM split into two splits, for example to validate on, or to have few
labels and much video.

    python tools/divide_split.py data/navsim_bench/splits train --share 0.1 --names train_labelled train_unlabelled

The first new split gets `share` of the logs, as nearly as whole recordings allow, drawn with --seed;
the second one gets the rest. All logs of one recording (DATE_veh-NUMBER_FIRST_LAST with the same
DATE_veh-NUMBER) go into the same split, because they show the same traffic. The scenes of a log stay
the same. Both are written beside the old split, as NAME.yaml and scene_filter/NAME.yaml.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from latentdrive.counting import counted
from latentdrive.data.navsim.scene_filter import FILTERS
from latentdrive.files import write_atomic
from latentdrive.statistics import recordings


def main(arguments: Sequence[str] | None = None) -> None:
    """Write both splits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("splits", type=Path, help="folder of the split files")
    parser.add_argument("split")
    parser.add_argument("--share", type=float, required=True)
    parser.add_argument("--names", nargs=2, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.split in options.names:
        names = " ".join(options.names)
        raise SystemExit(f"--names {names}: {options.split} is the split to divide, which stays: choose other names")
    split = read(options.splits / f"{options.split}.yaml")
    (chosen,) = (entry[FILTERS] for entry in split["defaults"] if FILTERS in entry)
    scenes = read(options.splits / FILTERS / f"{chosen}.yaml")
    logs = sorted(scenes.get("log_names") or [])
    first = divide(logs, options.share, options.seed)
    if not 0 < sum(first) < len(logs):
        drives = counted(len(recordings(logs)[0]), "drive")
        raise SystemExit(
            f"{options.split} names {counted(len(logs), 'log')} of {drives}, of which --share {options.share:g} is "
            f"{sum(first)}: choose a share that leaves drives for both"
        )
    for name, side in zip(options.names, (True, False)):
        own = [log for log, is_first in zip(logs, first) if is_first is side]
        write(options.splits / FILTERS / f"{name}.yaml", scenes | {"log_names": own})
        write(options.splits / f"{name}.yaml", split | {"defaults": [{FILTERS: name}]})
        print(f"{name}: {len(own):,} of {counted(len(logs), 'log')}, {counted(len(recordings(own)[0]), 'drive')}")


def divide(logs: Sequence[str], share: float, seed: int) -> list[bool]:
    """For each log whether it goes into the first split. Whole drives are drawn until their logs come closest to
    `share` of all.
    """
    drives, drive = recordings(logs)
    mixed = np.random.default_rng(seed).permutation(len(drives))
    reached = np.cumsum([0, *np.bincount(drive, minlength=len(drives))[mixed]])
    count = int(np.abs(reached - round(share * len(logs))).argmin())
    return np.isin(drive, mixed[:count]).tolist()


def read(path: Path) -> dict:
    """The content of a YAML file."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def write(path: Path, content: dict) -> None:
    """Write a YAML file, whole or not at all."""
    write_atomic(path, lambda new: new.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8") and None)


if __name__ == "__main__":
    main()
