"""`label`: latent actions of every window of a data set, by a codebook, a teacher or a student, into latent stores.

    latentdrive label model=runs/codebook/checkpoint data=world

A codebook sees the future of each window (t0 to t0 + 3 transitions), so its codes are training targets.
A teacher or student is given t0 and earlier only. Each part of the data gets a store; the same command
continues an interrupted run.
"""

import shlex
from functools import partial
from pathlib import Path

import torch

from latentdrive import checkpoint
from latentdrive.build import build
from latentdrive.config import Config
from latentdrive.counting import counted
from latentdrive.data.clips.frame_cache import CachedClips
from latentdrive.data.latent_store import LatentWriter
from latentdrive.data.unreadable import UnreadableLog
from latentdrive.labelling import address, choose_labeller, describe, label_part, stride_frames
from latentdrive.run_folder import RunFolder, progress


def run(cfg: Config) -> Path:
    """Label every part. Returns the folder that holds the stores."""
    folder, data = RunFolder(cfg, verb=cfg.verb), build(cfg.data)
    torch.manual_seed(cfg.seed)  # labelling draws no random numbers yet; sampled decoding would
    model, card = checkpoint.load(cfg.model)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if cfg.device == "auto" else cfg.device
    transition_s = card.data.get("transition_s")
    labeller = choose_labeller(model, rate_hz=data.rate_hz, transition_s=transition_s, device=device)
    stride = stride_frames(cfg.stride_s, data.rate_hz)
    parts = {part: data.open(part) for part in cfg.parts}
    infos = {
        part: describe(labeller, clips, maker=card.fingerprint, stride_s=float(cfg.stride_s))
        for part, clips in parts.items()
    }
    named, stores = cfg.store, Path(cfg.stores)
    root = stores / address(infos) if named is None else Path(named)
    sizes = {"batch_size": cfg.batch_size, "shard_windows": cfg.shard_windows, "stride": stride}
    then, dry_run = cfg.next.plain(), cfg.dry_run
    cfg.require_all_read()
    folder.say(f"{type(model).__name__} {card.fingerprint} labels {_counts(parts)} into {root}")
    folder.say(data.estimate(parts))
    if dry_run:
        folder.say("dry run: nothing was labelled")
        return root
    numbers = {}
    for part, clips in parts.items():
        log = UnreadableLog(
            clips=len(clips), max_unreadable=data.max_unreadable, file=folder.path / f"unreadable_{part}.csv"
        )
        writer = LatentWriter(root / part, infos[part])
        if writer.next_clip:
            folder.say(
                f"{part}: labelled already: {counted(writer.windows, 'window')} of the first "
                f"{counted(writer.next_clip, 'clip')}"
            )
        numbers[part] = label_part(labeller, clips, writer, log, watch=partial(progress, what=f"label {part}"), **sizes)
        folder.say(f"{part}: {counted(numbers[part]['windows'], 'window')}; {log.summary()}")
    folder.metrics({"stores": str(root), "maker": card.fingerprint, "parts": numbers})
    folder.finish(root, then[str(labeller.origin)].format(store=shlex.quote(str(root)), data=cfg.data_words))
    return root


def _counts(parts: dict[str, CachedClips]) -> str:
    return " and ".join(f"{counted(len(clips), 'clip')} of {part}" for part, clips in parts.items())
