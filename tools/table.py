"""Run a table of experiments, one command after another, and keep each result as it comes.

    python tools/table.py separation --seeds 0 1 2 -- data.path=data/world data.rate_hz=4

Rows and seeds that stand in docs/results/TABLE.json are skipped, so a table continues where it was stopped; a run itself
resumes in its `out` folder. What follows `--` is added to every command. --commit commits each result.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from latentdrive.files import write_atomic

RESULTS, RUNS = Path("docs/results"), Path("runs/tables")
TWO_STAGE = ["train", "codebook"]
STAGE_2 = [  # only the ego codes, on the stage 1 of the row `two_stage` with the same seed
    *TWO_STAGE, "init={tables}/separation/two_stage_{seed}/checkpoint", "init_without=[ego_inverse,ego_book,ego_forward]",
    *[f"training.schedule.{phase}=0" for phase in ("motion", "environment", "reader")],
]  # fmt: skip
REAL = [  # few and long clips: several windows of each one opened, and crops that make more of them
    *TWO_STAGE, "data=video", "data.rate_hz=10", "batches.pairs_per_clip=8", "batches.augmentation.crop_share=0.8",
]  # fmt: skip


def steps(**phases: int) -> list[str]:
    """Overrides that give these phases so many steps and all others none."""
    return [f"training.schedule.{phase}={phases.get(phase, 0)}" for phase in ("motion", "environment", "reader", "ego")]


TABLES = {  # table: {row: command}
    "separation": {
        "two_stage": [*TWO_STAGE],
        "one_stage": [*TWO_STAGE, "codebook=one_stage"],
        "head": [*STAGE_2, "model.regress_motion=true"],
        "encoder": [*STAGE_2, "model.environment_source=encoder"],
        "relearned": [*STAGE_2, "model.environment_source=relearned"],
        "long": [*STAGE_2, "training.schedule.ego=1800"],  # does the ego stage want more time?
    },
    "remedies": {  # what each remedy for the environment codes does, one taken away at a time
        "all": [*TWO_STAGE],
        "no_sectors": [*TWO_STAGE, "model.environment_sectors=false"],
        "no_moving_weight": [*TWO_STAGE, "training.weights.moving=0"],
        "no_motion_phase": [*TWO_STAGE, "training.schedule.motion=0"],
        "plain_decoder": [*TWO_STAGE, "model.forward_dynamics=plain"],
        "features_only": [*TWO_STAGE, "training.weights.pixels=0"],
        "pixels_only": [*TWO_STAGE, "training.weights.features=0"],
    },
    "real": {  # a minute and a half of video is soon learned by heart: few steps
        "one_stage": [*REAL, "codebook=one_stage", "model.ego_slots=4", *steps(ego=600)],
        "constant": [*REAL, "codebook=constant", "model.ego_slots=4", *steps(ego=600)],
        "two_stage": [*REAL, *steps(motion=200, environment=200, reader=150, ego=400)],
        "world_first": [
            *REAL,
            "init={tables}/separation/two_stage_{seed}/checkpoint",
            *steps(motion=100, environment=100, reader=100, ego=300),
        ],
    },
}


def main() -> None:
    """Run what is missing of one table."""
    own, extra = (
        (sys.argv[1:], [])
        if "--" not in sys.argv
        else (sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :])
    )
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", help="only these rows")
    parser.add_argument("--commit", action="store_true")
    arguments = parser.parse_args(own)
    rows = {
        row: command for row, command in TABLES[arguments.table].items() if not arguments.rows or row in arguments.rows
    }
    for seed in arguments.seeds:
        for row, command in rows.items():
            run(arguments.table, row, seed, [*command, *extra], commit=arguments.commit)


def run(table: str, row: str, seed: int, command: list[str], *, commit: bool) -> None:
    """One row with one seed, unless its result is there."""
    path = RESULTS / f"{table}.json"
    results = json.loads(path.read_text()) if path.is_file() else {}
    name = f"{row}/seed {seed}"
    if name in results:
        print(f"{table}, {name}: there already")
        return
    command = [word.format(tables=RUNS, seed=seed) for word in command]
    out = RUNS / table / f"{row}_{seed}"
    full = [sys.executable, "-m", "latentdrive", *command, f"seed={seed}", f"out={out}"]
    print(f"{table}, {name}: latentdrive {' '.join(full[3:])}", flush=True)
    subprocess.run(full, check=True)
    found = json.loads((out / "metrics.json").read_text())
    metrics = {key: round(value, 4) for key, value in found["metrics"].items() if isinstance(value, int | float)}
    results = json.loads(path.read_text()) if path.is_file() else {}  # another process may have added to it meanwhile
    results[name] = {
        "command": f"latentdrive {' '.join([*without_folders(command), f'seed={seed}'])}", "commit": found["commit"],
        "seconds": found["seconds"], "metrics": metrics,
    }  # fmt: skip
    write_atomic(path, lambda new: new.write_text(json.dumps(results, indent=1) + "\n"))
    if commit:
        subprocess.run(["git", "add", str(path)], check=True)
        subprocess.run(["git", "commit", "-qm", f"Result: {table}, {name}", "--", str(path)], check=True)


def without_folders(words: list[str]) -> list[str]:
    """The words of a command but the folders of one machine, which mean nothing elsewhere."""
    return [word for word in words if not word.startswith(("data.path=", "data.cache_folder=", "paths."))]


if __name__ == "__main__":
    main()
