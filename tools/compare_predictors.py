"""Compare teachers, or students, on the same held-out windows: means and paired intervals over
drives.

    python tools/compare_predictors.py teacher=runs/t black=runs/b --latents stores/codebook --data data=world
    python tools/compare_predictors.py a=runs/s b=runs/sb --origin teacher --latents stores/t --data data=world

Each NAME=FOLDER is a checkpoint, or a run that holds one. The first is compared with every other
one; a positive difference says that the other one is worse by so many nats. --out writes the
numbers as JSON.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from records import named_checkpoints, portable, write_json

from latentdrive import checkpoint
from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.data.batches.scene_batches import LabelledScenes
from latentdrive.data.clips.frame_cache import CachedClips
from latentdrive.data.latent_store import LatentStore
from latentdrive.statistics import bootstrap_by_drive
from latentdrive.student import training as student_training
from latentdrive.teacher import training as teacher_training

KEYS = {  # numbers by window in which less is better, by the origin of the labels
    "inverse_dynamics": ("nats", "nats_first", "one_pass_nats", "one_pass_nats_first"),
    "teacher": ("kl", "kl_first"),
}


def main() -> None:
    """Judge every checkpoint and print one line for each number."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--latents", required=True, help="folder that holds the store of the part")
    parser.add_argument("--data", nargs="+", required=True, help="overrides that choose the data")
    parser.add_argument("--part", default="val")
    parser.add_argument("--origin", default="inverse_dynamics", choices=tuple(KEYS))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    options = parser.parse_args()
    store = LatentStore(Path(options.latents) / options.part)
    clips = build(compose("label", [*options.data, "model=none"]).data).open(options.part)
    numbers, intervals = {}, {}
    for name, folder in named_checkpoints(options.models).items():
        numbers[name], drives = judge(folder, clips, store, options.origin, options.batch)
    first = next(iter(numbers))
    for key in KEYS[options.origin]:
        for name, own in numbers.items():
            intervals[f"{name}/{key}"] = bootstrap_by_drive(own[key], drives)
            if name != first:
                intervals[f"{name} - {first}/{key}"] = bootstrap_by_drive(own[key] - numbers[first][key], drives)
    for name, interval in intervals.items():
        print(f"{name:<48} {interval}")
    if options.out is not None:
        content = {
            "models": list(numbers),
            "data": [portable(word) for word in options.data],
            "part": options.part,
            "labels": store.fingerprint,
            "commit": checkpoint.commit(),
            "numbers": {name: vars(interval) for name, interval in intervals.items()},
        }
        write_json(options.out, content)


@torch.no_grad()
def judge(
    folder: Path, clips: CachedClips, store: LatentStore, origin: str, size: int
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The numbers of one checkpoint on every window of the store, and the drive of each. size: of a batch."""
    model, _ = checkpoint.load(folder)
    store.info.require_codebook(model.codebook_id, where=str(folder), former_ids=model.former_ids)
    scenes = LabelledScenes(clips=clips, store=store, spec=model.scene)
    parts = []
    for begin in range(0, len(scenes), size):
        batch, latents = scenes.batch(range(begin, min(begin + size, len(scenes))))
        if origin == "teacher":
            kl = student_training.judge_scenes(model, batch, latents)["kl"]
            parts.append({"kl": kl.mean(1), "kl_first": kl[:, : model.codes_per_transition].mean(1)})
        else:
            parts.append(teacher_training.judge_scenes(model, batch, latents))
    return {key: torch.cat([part[key] for part in parts]).numpy() for key in parts[0]}, scenes.drives()


if __name__ == "__main__":
    main()
