"""How fast a codebook trains: pairs of frames a second in each phase, with cached features and
without.

    python tools/bench_codebook.py                     # made-up clips
    python tools/bench_codebook.py --videos FOLDER     # real video
    python tools/bench_codebook.py codebook=latentvla features=dinov2 ...   # any override of `train codebook`

Trains a few steps of every phase with the trainer of the command, and writes
docs/results/bench_codebook.json. A pair is one transition. Waiting is the time in which the trainer
waits for the next batch. Process seconds are the program's own CPU time: on a machine that other
programs share they say more than seconds on the clock. Takes about two minutes on two cores.
"""

import argparse
import logging
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import lightning as L
import numpy as np
import torch
from records import write_record
from rich.console import Console
from rich.table import Table

from latentdrive.build import build
from latentdrive.codebook.phases import LEARNING
from latentdrive.config import compose
from latentdrive.trainer import supported_precision

RESULT = Path("docs/results/bench_codebook.json")
CLIPS, SECONDS, HZ, SIZE = 24, 10, 10, (96, 160)
UNCOUNTED = 3  # first steps of a phase, in which caches fill and the codebook is initialised
CACHES = {"none": "frames", "features": "features"}  # cached features → data.cache


class Clock(L.Callback):
    """Seconds from the end of one step to the end of the next, by phase: in all, waiting for data,
    and of the process.
    """

    def __init__(self, batches: Iterable) -> None:
        self.batches, self.waited = batches, 0.0
        self.steps: dict[str, list[tuple[float, float, float]]] = defaultdict(list)

    def __iter__(self) -> Iterator:
        iterator = iter(self.batches)
        while True:
            started = time.perf_counter()
            batch = next(iterator)
            self.waited += time.perf_counter() - started
            yield batch

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.mark = self._now()

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        phase, _ = module.schedule.at(trainer.global_step - 1)
        now = self._now()
        self.steps[phase].append(tuple(b - a for a, b in zip(self.mark, now)))
        self.mark = now

    def _now(self) -> tuple[float, float, float]:
        return time.perf_counter(), self.waited, time.process_time()

    def result(self, phase: str, pairs: int) -> dict[str, float]:
        """Pairs a second, pairs a process second, and the share of time spent waiting."""
        wall, waited, process = np.array(self.steps[phase][UNCOUNTED:]).sum(0)
        count = pairs * (len(self.steps[phase]) - UNCOUNTED)
        return {
            "pairs_per_s": round(count / wall, 1),
            "pairs_per_process_s": round(count / process, 1),
            "waiting_share": round(float(waited / wall), 4),
        }


def main() -> None:
    """Measure, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=Path, help="folder of videos; made-up clips where none is given")
    parser.add_argument("--steps", type=int, default=20, help="steps of each phase")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of torch; 0 leaves torch's choice")
    arguments, overrides = parser.parse_known_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        videos = arguments.videos or write_clips(Path(folder) / "clips")
        rates = {
            cached: measure(videos, Path(folder), cache, overrides, arguments.steps) for cached, cache in CACHES.items()
        }
    show(rates)
    write_record(
        RESULT,
        seed=0,
        steps_a_phase=arguments.steps,
        cached_features=rates,
        clips="made up" if arguments.videos is None else arguments.videos.name,
    )


def measure(videos: Path, folder: Path, cache: str, overrides: list[str], steps: int) -> dict[str, dict[str, float]]:
    """Numbers by phase, for one kind of cache."""
    cfg = compose(
        "train_codebook",
        [
            "data=video",
            f"data.path={videos}",
            "data.options.poses=recorded",
            f"data.cache={cache}",
            f"data.cache_folder={folder / 'cache'}",
            "batches.augmentation.flip=false",
            f"out={folder / cache}",
            *(f"training.schedule.{phase}={steps}" for phase in LEARNING),
            "seed=0",
            *overrides,
        ],
    )
    L.seed_everything(0, verbose=False)
    batches, model = build(cfg.batches), build(cfg.model)
    module = build(cfg.training, model=model)
    module.prepare(batches, new=True)
    for number in range(len(batches.train)):  # every clip is decoded before the clock starts
        batches.train.read(number)
    clock = Clock(batches.train_batches(0))
    trainer = build(
        cfg.trainer,
        precision=supported_precision(cfg.trainer.precision, cfg.trainer.accelerator),
        max_steps=module.schedule.steps,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
        use_distributed_sampler=False,
    )
    trainer.fit(module, clock)
    pairs = batches.batch_size * batches.spec.transitions
    return {phase: clock.result(phase, pairs) for phase in LEARNING if clock.steps[phase]}


def show(rates: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print one row for each phase and cache."""
    table = Table("phase", "cached features", "pairs a second", "pairs a process second", "waiting for data")
    for cached, phases in rates.items():
        for phase, numbers in phases.items():
            table.add_row(
                phase,
                cached,
                f"{numbers['pairs_per_s']:.0f}",
                f"{numbers['pairs_per_process_s']:.0f}",
                f"{numbers['waiting_share']:.1%}",
            )
    Console().print(table)


def write_clips(folder: Path) -> Path:
    """Write clips in which the view slides over a random picture, with the poses of that motion."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(CLIPS):
        speed = rng.uniform(12, 40)  # pixels a second, so that no two frames are equal
        times = np.arange(SECONDS * HZ) / HZ
        width = SIZE[1] + int(speed * SECONDS) + 1
        coarse = rng.integers(0, 256, (SIZE[0] // 16, width // 16, 3), np.uint8)
        picture = cv2.resize(coarse, (width, SIZE[0]), interpolation=cv2.INTER_CUBIC)
        with av.open(str(folder / f"{number:02d}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=HZ)
            stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
            stream.codec_context.time_base = Fraction(1, HZ)
            for time_s in times:
                left = int(speed * time_s)
                frame = np.ascontiguousarray(picture[:, left : left + SIZE[1]])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        poses = np.column_stack([times, speed * times / 4, 0 * times, 0 * times, np.full(len(times), speed / 4)])
        header = "time_s,x_m,y_m,heading_rad,speed_mps"
        np.savetxt(folder / f"{number:02d}.poses.csv", poses, delimiter=",", header=header, comments="")
    return folder


if __name__ == "__main__":
    main()
