"""Compare codebooks on the same held-out transitions: error of the predicted next frame, and paired intervals over drives.

    python tools/compare_codebooks.py one_stage=runs/a constant=runs/b --data data=world
    python tools/compare_codebooks.py one_stage=runs/a constant=runs/b --data data=video data.path=clips/ data.rate_hz=10

Each NAME=FOLDER is a checkpoint (or a run that holds one). The first is compared with every other: a positive difference says
that the other's error is larger by so much of the error of copying. Only codebooks over the same features compare.
Writes JSON with --out.
"""

import argparse
import json
from pathlib import Path

from records import portable

from latentdrive import checkpoint
from latentdrive.backbones import CachedMaps
from latentdrive.build import build
from latentdrive.codebook.judging.evaluation import Coded, code, reader_agreement
from latentdrive.config import compose
from latentdrive.errors import ConfigError
from latentdrive.files import write_atomic
from latentdrive.statistics import bootstrap_by_drive


def main() -> None:
    """Judge every codebook, print one line a number."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--data", nargs="+", required=True, help="overrides that choose the data")
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    options = parser.parse_args()
    config = compose("train_codebook", [*options.data, "out=none"])
    batches, shares = build(config.batches), config.training.loss.plain()
    coded, agreement, backbone = {}, {}, None
    for word in options.models:
        name, _, folder = word.partition("=")
        inside = Path(folder) / "checkpoint"
        model, _ = checkpoint.load(inside if inside.is_dir() else Path(folder))
        sees = CachedMaps(model.features).fingerprint
        backbone = backbone or sees
        if sees != backbone:
            raise ConfigError(f"{name} sees other features than {next(iter(coded))}: their errors don't compare")
        frames = None if batches.data.block_s is None else round(batches.data.block_s * batches.data.rate_hz)
        coded[name] = code(
            model, batches.validation_batches(), features=shares["features"], pixels=shares["pixels"],
            block_frames=frames,
        )  # fmt: skip
        if model.environment_slots:
            agreement[name] = reader_agreement(model, batches.validation_batches())
            print(f"{name:<48} reader and encoder agree on {agreement[name]:.1%} of the environment codes")
    found = compare(coded)
    for name, interval in found.items():
        print(f"{name:<48} {interval}")
    if options.out is not None:
        content = {
            "models": list(coded), "data": [portable(word) for word in options.data], "commit": checkpoint.commit(),
            "numbers": {name: vars(interval) for name, interval in found.items()}, "reader_agreement": agreement,
        }  # fmt: skip
        text = json.dumps(content, indent=1) + "\n"
        write_atomic(options.out, lambda path: path.write_text(text))


def compare(coded: dict[str, Coded]) -> dict:
    """Error of each, and how much larger every other one's is than the first one's; shares of the copy error."""
    first, *others = coded
    found = {name: own.share("true", of="copy") for name, own in coded.items()}
    for name in others:
        found[f"{name} - {first}"] = bootstrap_by_drive(
            coded[name].errors["true"] - coded[first].errors["true"], [str(drive) for drive in coded[first].drives]
        )
    return found


if __name__ == "__main__":
    main()
