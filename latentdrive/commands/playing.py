"""`run source=VIDEO`: a recording or a camera through a bundle's runtime, and the annotated video of it."""

from pathlib import Path
from typing import Any

import numpy as np

from latentdrive.config import Config
from latentdrive.drawing.video_file import VideoFile
from latentdrive.errors import BundleRefused, ConfigError
from latentdrive.export.runtime import BundleError, Runtime, read_card
from latentdrive.playback.annotated import annotated, summary_lines
from latentdrive.playback.loop import Moment, Player, StepClock, WallClock
from latentdrive.playback.source import LiveCamera, RecordedSource, Source
from latentdrive.run_folder import RunFolder, progress_bar
from latentdrive.types import FRONT_CAMERA, Command

CAMERA = "camera"
VIDEO = "annotated.mp4"
OF_SERVING = ("host", "mode", "sessions", "planner", "cameras")  # keys of configs/run.yaml that playing does not use


def play_video(cfg: Config, folder: RunFolder, name: str) -> Path:
    if cfg.bundle is None:
        raise ConfigError(
            "a video is played through a bundle, as the car would run it: latentdrive export makes one, and "
            "bundle=FOLDER names it"
        )
    bundle, provider, threads = Path(cfg.bundle), cfg.provider, cfg.value("threads", int)
    rate, crf, dry_run = cfg.value("plan_hz", float), cfg.value("crf", int), cfg.dry_run
    deadline_s, realtime, others = cfg.value("deadline_s", float | None), cfg.realtime, cfg.others
    command = _command(cfg.value("command", str))
    try:
        card = read_card(bundle)
        facts = _front(card, bundle)
        source = _source(name, (facts["height"], facts["width"]), cfg)
        cfg.mark_read(OF_SERVING)
        cfg.require_all_read()
        absent = _absent(card, others)
        clock = WallClock() if realtime else StepClock()
        runtime = Runtime(
            str(bundle),
            provider=provider,
            deadline_s=deadline_s,
            clock=clock.now,
            threads=threads,
            absent=absent,
            calibration={} if source.calibration is None else {FRONT_CAMERA: source.calibration},
        )
    except BundleError as error:
        raise BundleRefused(str(error)) from None
    folder.say(f"{card['kind']} ({card['backend']} {card['precision']}) plays {name} on {runtime.engine.provider}")
    if dry_run:
        folder.say(f"dry run: would write {folder.path / VIDEO}")
        return folder.path
    with progress_bar("play") as bar:
        task = bar.add_task("plans", total=None)
        player = Player(
            runtime=runtime,
            source=source,
            clock=clock,
            plan_s=1 / rate,
            command=command,
            advance=lambda _: bar.advance(task),
        )
        moments = player.play()
    for line in summary_lines(moments):
        folder.say(line)
    _draw(folder.path / VIDEO, source, moments, card, crf)
    folder.metrics({"plans": _numbers(moments), "counts": dict(runtime.counts)})
    folder.finish(folder.path / VIDEO, f"latentdrive bench bundle={bundle}")
    return folder.path


def _source(name: str, size: tuple[int, int], cfg: Config) -> Source:
    told = [cfg.value(key, float | None) for key in ("images_hz", "speed_mps")]
    fit, (images_hz, speed) = cfg.fit, [None if number is None else float(number) for number in told]
    kind, _, number = name.partition(":")
    if kind == CAMERA and number.isdecimal():
        return LiveCamera(int(number), size=size, fit=fit, speed_mps=speed)
    return RecordedSource(Path(name).expanduser(), size=size, fit=fit, images_hz=images_hz, speed_mps=speed)


def _front(card: dict[str, Any], bundle: Path) -> dict[str, Any]:
    if FRONT_CAMERA not in card["cameras"]:
        raise ConfigError(f"bundle={bundle} looks at no front camera: a video has nothing to show it")
    if card["lidar"] is not None:
        raise ConfigError(
            f"bundle={bundle} needs a LiDAR, which a video has not: export a planner of cameras, as LTF is"
        )
    return card["cameras"][FRONT_CAMERA]


def _absent(card: dict[str, Any], others: str) -> list[str]:
    """The cameras of the bundle that a video of the front camera lacks."""
    absent = [name for name in card["cameras"] if name != FRONT_CAMERA]
    if others not in ("refuse", "black"):
        raise ConfigError(f"others={others} is unknown: choose refuse or black")
    if absent and others == "refuse":
        raise ConfigError(
            f"the bundle also looks at {', '.join(absent)}, and the source is one front camera: others=black shows it "
            "black pictures there, on which it was not trained"
        )
    return absent


def _command(name: str) -> Command:
    try:
        return Command[name.upper()]
    except KeyError:
        raise ConfigError(f"command={name} is unknown: choose left, straight, right or unknown") from None


def _draw(file: Path, source: Source, moments: list[Moment], card: dict[str, Any], crf: int) -> None:
    """Write the annotated video of a recording. A live camera's pictures are not kept."""
    if source.live or not moments:
        return
    facts = card["cameras"][FRONT_CAMERA]
    of_bundle = (
        None if facts["intrinsics"] is None else (np.array(facts["intrinsics"]), np.array(facts["camera_to_ego"]))
    )
    times = [moment.time_s for moment in moments]
    with VideoFile(file, crf=crf) as video, progress_bar("draw") as bar:
        task = bar.add_task("frames", total=None)
        for time_s, picture in source.frames():
            newest = int(np.searchsorted(times, time_s, side="right")) - 1
            moment = moments[newest] if newest >= 0 else None
            video.add(annotated(picture, moment, source.calibration or of_bundle), time_s)
            bar.advance(task)


def _numbers(moments: list[Moment]) -> dict[str, Any]:
    times = [1e3 * moment.status.elapsed_s for moment in moments]
    quantiles = {} if not times else {f"ms_p{q}": float(np.quantile(times, q / 100)) for q in (50, 90, 99, 100)}
    sources = [moment.status.source for moment in moments]
    return {"count": len(moments), **{name: sources.count(name) for name in sorted(set(sources))}, **quantiles}
