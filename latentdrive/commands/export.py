"""`export`: a checkpoint as a bundle, the folder that a car runs.

    latentdrive export planner=runs/planner/checkpoint data=navsim precision=int8

The bundle is compared with its PyTorch model on the val split, and written only if plans and score agree.
"""

from pathlib import Path
from typing import Any

from latentdrive import checkpoint
from latentdrive.build import build
from latentdrive.checkpoint import read_card
from latentdrive.codebook.model import Codebook
from latentdrive.config import Config
from latentdrive.counting import counted
from latentdrive.errors import ConfigError
from latentdrive.export import runtime
from latentdrive.export.bundle import network_card
from latentdrive.export.exporting import Export, write_network
from latentdrive.export.formats import Format, Precision, chosen, require_tensorrt
from latentdrive.export.gate import Bounds
from latentdrive.export.networks import CODEBOOK, STUDENT, codebook_graph, student_graph
from latentdrive.export.val_split import score_options, val_split
from latentdrive.kinds import Count
from latentdrive.planners.latents.live import LivePredictor
from latentdrive.planners.learned import LearnedPlanner
from latentdrive.run_folder import RunFolder
from latentdrive.types import FRONT_CAMERA, SensorNeeds

ALONE = (STUDENT, CODEBOOK)


def run(cfg: Config) -> Path:
    """Write the bundle; returns its folder. Raises BundleRefused where it is not like its model."""
    with RunFolder(cfg, verb=cfg.verb) as folder:
        if cfg.alone.teacher is not None:
            raise ConfigError(
                "a teacher is not exported: it decodes word by word with billions of parameters. Distil it "
                "(latentdrive distill) and export student=CHECKPOINT"
            )
        named = [name for name in ALONE if cfg.alone[name] is not None]
        if len(named) > 1:
            raise ConfigError(f"{' and '.join(f'{name}=' for name in named)}: export one network at a time")
        format, precision = chosen(cfg.format, cfg.precision)
        if format is Format.TENSORRT:
            require_tensorrt()
        if named:
            return _alone(cfg, folder, named[0], format, precision)
        return _planner(cfg, folder, format, precision)


def _planner(cfg: Config, folder: RunFolder, format: Format, precision: Precision) -> Path:
    options, data, bounds, limits = score_options(cfg), build(cfg.data), _bounds(cfg, precision), _limits(cfg)
    sizes = {name: cfg.value(name, Count) for name in ("calibration_scenes", "repeats")}
    sensitivity, target, then, dry_run = cfg.value("sensitivity", int), Path(cfg.bundle), cfg.next, cfg.dry_run
    words = cfg.planner.plain()
    planner = build(words | ({"device": "cpu"} if "device" in words else {}))
    cfg.require_all_read()
    if not isinstance(planner, LearnedPlanner):
        raise ConfigError(f"{type(planner).__name__} is no network of a checkpoint: give planner=CHECKPOINT")
    folder.say(f"{type(planner).__name__} as {format} {precision}, on {counted(options.scenes, 'val scene')}")
    if dry_run:
        folder.say(f"dry run: would write {target}")
        return target
    split = val_split(data, planner.needs, options, folder.say)
    export = Export(
        planner=planner.eval(),
        split=split,
        format=format,
        precision=precision,
        bounds=bounds,
        limits=limits,
        parents=_parents(words),
        sensitivity=sensitivity,
        say=folder.say,
        **sizes,
    )
    card = export.write(target)
    folder.metrics({"bundle": str(target), "gate": card["gate"], "latency": card["latency"]})
    folder.finish(target, then.format(bundle=target))
    return target


def _alone(cfg: Config, folder: RunFolder, name: str, format: Format, precision: Precision) -> Path:
    """A student or codebook without a planner."""
    source, target, bounds, dry_run = cfg.alone[name], Path(cfg.bundle), _bounds(cfg, precision), cfg.dry_run
    options, limits = score_options(cfg), _limits(cfg)
    if name == STUDENT:
        needs = SensorNeeds(cameras=(FRONT_CAMERA,), frames="now", lidar=False)
        graph = student_graph(LivePredictor(source, device="cpu"), _front_size(build(cfg.data), needs))
    else:
        graph = codebook_graph(checkpoint.load(source, expect=Codebook)[0])
    cfg.mark_read(["planner", "data", "sensitivity", "calibration_scenes", "repeats", "next"])
    cfg.require_all_read()
    del options, limits  # read, so that no key is refused; they are the planners'
    folder.say(f"{name} as {format} {precision}")
    if dry_run:
        folder.say(f"dry run: would write {target}")
        return target
    parents = {name: read_card(source).fingerprint}
    card = network_card(name, graph)
    apart = write_network(
        graph, target, card, format=format, precision=precision, bound=bounds.drift_m, parents=parents
    )
    folder.say(f"largest difference from PyTorch {apart:.2g} (bound {bounds.drift_m:g})")
    folder.metrics({"bundle": str(target), "largest_difference": apart})
    folder.say(f"Done in {folder.seconds:.0f} s. Result: {target}")
    return target


def _front_size(data: Any, needs: SensorNeeds) -> tuple[int, int]:
    """Rows and columns of the front camera in the first val scene."""
    from latentdrive.export.scene_inputs import cameras_of

    source = data.open_scenes(split=data.split_of("val"), needs=needs)
    return cameras_of(source[source.tokens[0]], needs.cameras)[FRONT_CAMERA].size


def _bounds(cfg: Config, precision: Precision) -> Bounds:
    bounds = {
        name: Bounds(**{key: float(value) for key, value in cfg.bounds[name].plain().items()}) for name in Precision
    }
    return bounds[precision]


def _limits(cfg: Config) -> runtime.Limits:
    try:
        return runtime.Limits.of(cfg.limits.plain())
    except runtime.BundleError as error:
        raise ConfigError(str(error)) from None


def _parents(planner: dict[str, Any]) -> dict[str, str]:
    """Fingerprints of the checkpoints that the planner was built from, and of what these were made from."""
    parents = {}
    for role, key in (("planner", "folder"), ("student", "predictor")):
        if planner.get(key):
            card = read_card(planner[key])
            parents |= {role: card.fingerprint, **{f"{role}'s {name}": made for name, made in card.parents.items()}}
    return parents
