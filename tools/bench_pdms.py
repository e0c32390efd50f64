"""How fast trajectories are scored: milliseconds a trajectory by batch size, and milliseconds to
prepare a scene.

    python tools/bench_pdms.py                 # one process, one thread, float64, on the golden scenes
    python tools/bench_pdms.py --threads 2
    python tools/bench_pdms.py --profile 1024  # where the time goes for batches of this size

Scores scenes 0, 5, 10, ... of the golden files in file order, on which the devkit's times were
measured (see the README beside them). LATENTDRIVE_GOLDEN names the folder of these files. The
trajectories are the scene's candidates with a few centimetres of noise. Every number is the median
over scenes of the median over several rounds. Writes docs/results/bench_pdms.json. Takes about two
minutes on one core.
"""

import argparse
import cProfile
import pstats
import statistics
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clocks import median_seconds
from records import write_record
from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for the reader of golden files

from latentdrive.pdms.prepare import prepare_scene
from latentdrive.pdms.scene import ScoringScene
from latentdrive.pdms.scorer import Scorer
from latentdrive.pdms.versions import Version
from latentdrive.types import SceneTruth
from tests.support.golden_files import FILES, SCENES, golden

RESULT = Path("docs/results/bench_pdms.json")
SIZES, EVERY, NOISE_M = (1, 16, 64, 256, 1024, 8192), 5, 0.05
# The devkit's times on a two-core machine with one thread (README of the golden files): one call, and its own batches.
DEVKIT_MS = {
    1: {"as called": 21.7, 16: 3.1, 64: 2.2, 256: 2.4, "prepare": 243.0},
    2: {"as called": 59.5, 16: 9.2, 64: 7.9, 256: 8.3, "prepare": 403.0},
}
VERSIONS = (Version.PDMS_V1_1, Version.EPDMS_V2_2)


def main() -> None:
    """Measure, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda; one scene at a time on both")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", type=int, metavar="M", help="print where the time goes and write nothing")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names = [name for name in FILES if name.startswith("0")]
    if not names:
        raise SystemExit("bench_pdms: no golden files; LATENTDRIVE_GOLDEN=FOLDER names the folder that holds them")
    chosen = [(name, k) for name in names for k in range(SCENES)][::EVERY]
    measured: dict[str, Any] = {"threads": options.threads, "device": options.device, "scenes": len(chosen)}
    for version in VERSIONS:
        truths = [golden(name).truth(number) for name, number in chosen]
        scenes, seconds = prepare(truths, version)
        poses = [candidates(golden(name).answers(number)) for name, number in chosen]
        if options.profile:
            profile(scenes[0], poses[0], version, options.profile)
            continue
        numbers: dict[str, Any] = {
            "prepare_ms": statistics.median(seconds) * 1e3,
            "prepare_mean_ms": np.mean(seconds) * 1e3,
        }
        numbers["open_ms"] = (
            statistics.median(median_seconds(partial(Scorer, [scene], version=version), 3) for scene in scenes) * 1e3
        )
        numbers["ms"] = {
            str(size): measure(scenes, poses, version, size, options)
            for size in track(options.sizes, description=version)
        }
        measured[version] = numbers
    if not options.profile:
        show(measured)
        write_record(options.out, **measured)


def prepare(truths: Sequence[SceneTruth], version: Version) -> tuple[list[ScoringScene], list[float]]:
    """The prepared scenes, and the seconds each of them took once the map's index existed."""
    scenes, seconds = [], []
    for truth in truths:
        prepare_scene(truth, version.rules)
        started = time.perf_counter()
        scenes.append(prepare_scene(truth, version.rules))
        seconds.append(time.perf_counter() - started)
    return scenes, seconds


def candidates(answers: dict[str, Any]) -> torch.Tensor:
    """The valid candidates of a scene that have 8 poses."""
    poses = [case["poses"] for case in answers["cases"] if len(case["poses"]) == 8 and case["name"] != "nan"]
    return torch.tensor(poses, dtype=torch.float64)


def measure(
    scenes: list[ScoringScene], poses: list[torch.Tensor], version: Version, size: int, options: argparse.Namespace
) -> float:
    """Milliseconds a trajectory if `size` of them are scored at once."""
    draw = torch.Generator().manual_seed(0)
    times = []
    for scene, some in zip(scenes, poses):
        many = some[torch.arange(size) % len(some)]
        many = (many + NOISE_M * torch.randn(many.shape, generator=draw, dtype=many.dtype))[None]
        scorer = Scorer([scene], version=version, device=options.device)
        rounds = options.rounds if size > 256 else 5 * options.rounds
        times.append(median_seconds(lambda scorer=scorer, many=many: scorer.score_poses(many, dt_s=0.5), rounds) / size)
    return statistics.median(times) * 1e3


def profile(scene: ScoringScene, poses: torch.Tensor, version: Version, size: int) -> None:
    """Print where the time goes."""
    scorer, many = Scorer([scene], version=version), poses[torch.arange(size) % len(poses)][None]
    scorer.score_poses(many, dt_s=0.5)
    with cProfile.Profile() as watch:
        for _ in range(max(1, 2048 // size)):
            scorer.score_poses(many, dt_s=0.5)
    pstats.Stats(watch).sort_stats("cumulative").print_stats("latentdrive")
    pstats.Stats(watch).sort_stats("tottime").print_stats(18)


def show(measured: dict[str, Any]) -> None:
    """Print our times beside the devkit's."""
    table = Table("", *map(str, VERSIONS), "devkit v1", "devkit v2", "times faster, v1", "v2")
    for size in measured[VERSIONS[0]]["ms"]:
        own = [measured[version]["ms"][size] for version in VERSIONS]
        devkit = [
            min(v for k, v in DEVKIT_MS[g].items() if k != "prepare") if int(size) > 1 else DEVKIT_MS[g]["as called"]
            for g in (1, 2)
        ]
        table.add_row(
            f"ms a trajectory, {size} at once",
            *(f"{x:.4f}" for x in (*own, *devkit)),
            *(f"{t / o:.0f}" for t, o in zip(devkit, own)),
        )
    own = [measured[version]["prepare_ms"] for version in VERSIONS]
    devkit = [DEVKIT_MS[generation]["prepare"] for generation in (1, 2)]
    table.add_row(
        "ms to prepare a scene",
        *(f"{x:.1f}" for x in (*own, *devkit)),
        *(f"{t / o:.0f}" for t, o in zip(devkit, own)),
    )
    Console().print(table)


if __name__ == "__main__":
    main()
