"""`convert`: NAVSIM's published weights of a planner, kept as one of our checkpoint folders.

    latentdrive convert planner=transfuser navsim_checkpoint=transfuser.ckpt

Names are translated one to one; a weight too many or too few, or another planner's file, is an error.
`train planner init.navsim_checkpoint=FILE` starts from the same file.
"""

from pathlib import Path

from latentdrive import checkpoint
from latentdrive.build import build
from latentdrive.checkpoint import Card
from latentdrive.config import Config
from latentdrive.errors import ConfigError
from latentdrive.run_folder import CHECKPOINT, RunFolder
from latentdrive.types import OfficialWeights


def run(cfg: Config) -> Path:
    """Write the checkpoint; returns its folder."""
    with RunFolder(cfg, verb=cfg.verb) as folder:
        return _convert(cfg, folder)


def _convert(cfg: Config, folder: RunFolder) -> Path:
    config, source = cfg.model.plain(), cfg.value("navsim_checkpoint", str)
    then, dry_run = cfg.next, cfg.dry_run
    for key in ("training", "batches", "trainer"):  # the planner's option has them for its training
        cfg.mark_read([key])
    cfg.require_all_read()
    model = build(cfg.model)
    if not isinstance(model, OfficialWeights):
        raise ConfigError(
            f"NAVSIM publishes no weights of a {type(model).__name__}: choose planner=transfuser or planner=ltf"
        )
    fingerprint = checkpoint.file_fingerprint(source)
    folder.say(f"{type(model).__name__} from {source}")
    place = folder.path / CHECKPOINT
    if dry_run:
        folder.say(f"dry run: would write {place}")
        return place
    model.load_official(source)
    card = Card(
        kind=type(model).__name__,
        parents={"navsim": fingerprint},
        data={"published_weights": Path(source).name},
        command=folder.command,
        commit=folder.commit,
    )
    card = checkpoint.save(place, model, config=config, card=card)
    folder.metrics({"fingerprint": card.fingerprint, "navsim_checkpoint": fingerprint})
    folder.finish(place, then.format(checkpoint=place))
    return place
