"""Compare teachers, or students, on the same held-out windows: means and paired intervals over drives.

    python tools/compare_predictors.py teacher=runs/t black=runs/b --latents stores/inverse_dynamics-... --data data=world
    python tools/compare_predictors.py student=runs/s black=runs/sb --origin teacher --latents stores/teacher-... --data data=world

Each NAME=FOLDER is a checkpoint (or a run that holds one). The first is compared with every other: a positive difference says
that the other is worse by so many nats. Writes JSON with --out.
"""

import argparse
import json
from pathlib import Path

import torch
from records import portable

from latentdrive import checkpoint
from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.data.batches.scene_batches import LabelledScenes
from latentdrive.data.latent_store import LatentStore
from latentdrive.files import write_atomic
from latentdrive.statistics import bootstrap_by_drive
from latentdrive.student import training as student_training
from latentdrive.teacher import training as teacher_training

KEYS = {  # what is compared: per-scene numbers in which less is better
    "inverse_dynamics": ("nats", "nats_first", "one_pass_nats", "one_pass_nats_first"),
    "teacher": ("kl", "kl_first"),
}


def main() -> None:
    """Judge every checkpoint, print one line a number."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--latents", required=True, help="folder with the store of the part")
    parser.add_argument("--data", nargs="+", required=True, help="overrides that choose the data")
    parser.add_argument("--part", default="val")
    parser.add_argument("--origin", default="inverse_dynamics", choices=tuple(KEYS))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    options = parser.parse_args()
    store = LatentStore(Path(options.latents) / options.part)
    clips = build(compose("label", [*options.data, "model=none"]).data).open(options.part)
    numbers, found = {}, {}
    for word in options.models:
        name, _, folder = word.partition("=")
        numbers[name], drives = judge(Path(folder), clips, store, options.origin, options.batch)
    first = next(iter(numbers))
    for key in KEYS[options.origin]:
        for name, own in numbers.items():
            found[f"{name}/{key}"] = bootstrap_by_drive(own[key], drives)
            if name != first:
                found[f"{name} - {first}/{key}"] = bootstrap_by_drive(own[key] - numbers[first][key], drives)
    for name, interval in found.items():
        print(f"{name:<48} {interval}")
    if options.out is not None:
        content = {
            "models": list(numbers), "data": [portable(word) for word in options.data], "part": options.part, "labels": store.fingerprint,
            "commit": checkpoint.commit(), "numbers": {name: vars(interval) for name, interval in found.items()},
        }  # fmt: skip
        text = json.dumps(content, indent=1) + "\n"
        write_atomic(options.out, lambda path: path.write_text(text))


@torch.no_grad()
def judge(folder: Path, clips, store: LatentStore, origin: str, size: int) -> tuple[dict, list[str]]:
    """Per-scene numbers of one checkpoint on all windows of the store, and the drive of each."""
    model, _ = checkpoint.load(folder / "checkpoint" if (folder / "checkpoint").is_dir() else folder)
    store.info.require_codebook(model.codebook_id, where=str(folder), former_ids=model.former_ids)
    scenes = LabelledScenes(clips=clips, store=store, spec=model.scene)
    parts = []
    for begin in range(0, len(scenes), size):
        batch, latents = scenes.batch(range(begin, min(begin + size, len(scenes))))
        if origin == "teacher":
            slots = student_training.judge_scenes(model, batch, latents)
            kl = slots["kl"]
            parts.append({"kl": kl.mean(1), "kl_first": kl[:, : model.codes_per_transition].mean(1)})
        else:
            parts.append(teacher_training.judge_scenes(model, batch, latents))
    return {key: torch.cat([part[key] for part in parts]).numpy() for key in parts[0]}, scenes.drives()


if __name__ == "__main__":
    main()
