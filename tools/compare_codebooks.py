"""Compare codebooks on the same held-out transitions: error of the predicted next frame, with
paired intervals.

    python tools/compare_codebooks.py one_stage=runs/a constant=runs/b --data data=world
    python tools/compare_codebooks.py a=runs/a b=runs/b --data data=video data.path=clips/ data.rate_hz=10

Each NAME=FOLDER is a checkpoint, or a run that holds one. The first is compared with every other
one. Errors are shares of the error of copying the present frame; a positive difference says that
the other codebook's error is larger by that share. Intervals resample drives, or blocks with
data.block_s=SECONDS. Only codebooks over the same features can be compared. --out writes the
numbers as JSON.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from records import named_checkpoints, portable, write_json

from latentdrive import checkpoint
from latentdrive.backbones import CachedMaps
from latentdrive.build import build
from latentdrive.codebook.judging.evaluation import Coded, code, reader_agreement
from latentdrive.config import compose
from latentdrive.errors import ConfigError
from latentdrive.statistics import Interval, bootstrap_by_drive


def main() -> None:
    """Judge every codebook and print one line for each number."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--data", nargs="+", required=True, help="overrides that choose the data")
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    options = parser.parse_args()
    config = compose("train_codebook", [*options.data, "out=none"])
    batches, shares = build(config.batches), config.training.loss.plain()
    coded, agreement, fingerprint = {}, {}, None
    for name, folder in named_checkpoints(options.models).items():
        model, _ = checkpoint.load(folder)
        features = CachedMaps(model.features).fingerprint
        fingerprint = fingerprint or features
        if features != fingerprint:
            raise ConfigError(f"{name} uses other features than {next(iter(coded))}, so their errors can't be compared")
        frames = None if batches.data.block_s is None else round(batches.data.block_s * batches.data.rate_hz)
        coded[name] = code(
            model,
            batches.validation_batches(),
            features=shares["features"],
            pixels=shares["pixels"],
            drive=batches.held_out.clips.drive,
            block_frames=frames,
        )
        if model.environment_slots:
            agreement[name] = reader_agreement(model, batches.validation_batches())
            print(f"{name:<48} reader and encoder agree on {agreement[name]:.1%} of the environment codes")
    numbers = compare(coded)
    for name, interval in numbers.items():
        print(f"{name:<48} {interval}")
    if options.out is not None:
        content = {
            "models": list(coded),
            "data": [portable(word) for word in options.data],
            "commit": checkpoint.commit(),
            "numbers": {name: vars(interval) for name, interval in numbers.items()},
            "reader_agreement": agreement,
        }
        write_json(options.out, content)


def compare(coded: dict[str, Coded]) -> dict[str, Interval]:
    """The error of each codebook, and by how much every other one's exceeds the first one's; shares
    of the copy error.
    """
    first, *others = coded
    numbers = {name: own.share("true", of="copy") for name, own in coded.items()}
    drives = [str(drive) for drive in coded[first].resampled]
    for name in others:
        difference = coded[name].errors["true"] - coded[first].errors["true"]
        numbers[f"{name} - {first}"] = replace(bootstrap_by_drive(difference, drives), unit=coded[first].unit)
    return numbers


if __name__ == "__main__":
    main()
