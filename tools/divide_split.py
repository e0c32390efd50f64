"""Divide the logs of a NAVSIM split into two splits, for example to validate on, or to have few
labels and much video.

    python tools/divide_split.py data/navsim_bench/splits train --share 0.1 --names train_labelled train_unlabelled

The first new split gets `share` of the logs, drawn with --seed; the second one gets the rest. The
scenes of a log stay the same. Both are written beside the old split, as NAME.yaml and
scene_filter/NAME.yaml.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from latentdrive.data.navsim.scene_filter import FILTERS
from latentdrive.files import write_atomic


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
    count = round(options.share * len(logs))
    if not 0 < count < len(logs):
        raise SystemExit(
            f"{options.split} names {len(logs)} logs, of which --share {options.share:g} is {count}: "
            "choose a share that leaves logs for both"
        )
    mixed = np.random.default_rng(options.seed).permutation(len(logs))
    for name, picked in zip(options.names, (mixed[:count], mixed[count:])):
        own = [logs[number] for number in sorted(picked)]
        write(options.splits / FILTERS / f"{name}.yaml", scenes | {"log_names": own})
        write(options.splits / f"{name}.yaml", split | {"defaults": [{FILTERS: name}]})
        print(f"{name}: {len(own):,} of {len(logs):,} logs")


def read(path: Path) -> dict:
    """The content of a YAML file."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def write(path: Path, content: dict) -> None:
    """Write a YAML file, whole or not at all."""
    write_atomic(path, lambda new: new.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8") and None)


if __name__ == "__main__":
    main()
