"""`label`: latent actions of every window of a data set, by a codebook, a teacher or a student, into latent stores.

    latentdrive label model=runs/codebook/checkpoint data=world

A codebook sees the future of each window (t0 to t0 + 3 transitions), so its codes are training targets.
A teacher or student is given t0 and earlier only. Each part of the data gets a store; the same command
continues an interrupted run.
"""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from latentdrive import checkpoint
from latentdrive.build import build
from latentdrive.config import Config
from latentdrive.counting import counted
from latentdrive.data.clips.frame_cache import CachedClips
from latentdrive.data.latent_store import LatentWriter, StoreInfo
from latentdrive.data.store_files import INDEX
from latentdrive.data.unreadable import UnreadableLog
from latentdrive.devices import choose_device
from latentdrive.kinds import Count, Positive
from latentdrive.labellers import choose_labeller
from latentdrive.labelling import address, describe, label_part, stride_frames
from latentdrive.locks import one_writer
from latentdrive.run_folder import RunFolder, progress


def run(cfg: Config) -> Path:
    """Label every part. Returns the folder that holds the stores."""
    with RunFolder(cfg, verb=cfg.verb) as folder:
        return _label(cfg, folder)


def _label(cfg: Config, folder: RunFolder) -> Path:
    data = build(cfg.data)
    torch.manual_seed(cfg.seed)  # labelling draws no random numbers yet; sampled decoding would
    device, stride_s = choose_device(cfg.device), float(cfg.value("stride_s", Positive))
    sizes = {key: cfg.value(key, Count) for key in ("batch_size", "shard_windows")}
    model, card = checkpoint.load(cfg.value("model", str))
    labeller = choose_labeller(model, card=card, folder=cfg.model, data=data, device=device)
    stride = stride_frames(stride_s, data.rate_hz)
    parts = {part: data.open(part) for part in cfg.parts}
    infos = {
        part: describe(labeller, clips, maker=card.fingerprint, stride_s=stride_s) for part, clips in parts.items()
    }
    named, stores = cfg.value("store", str | None), Path(cfg.stores)
    root = stores / address(infos) if named is None else Path(named)
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
        with _writing(root / part, infos[part]) as writer:
            if writer.next_clip:
                folder.say(
                    f"{part}: labelled already: {counted(writer.windows, 'window')} of the first "
                    f"{counted(writer.next_clip, 'clip')}"
                )
            watch = partial(progress, what=f"label {part}")
            numbers[part] = label_part(labeller, clips, writer, log, watch=watch, stride=stride, **sizes)
        folder.say(f"{part}: {counted(numbers[part]['windows'], 'window')}; {log.summary()}")
    folder.metrics({"stores": str(root), "maker": card.fingerprint, "parts": numbers})
    folder.finish(root, then[str(labeller.origin)].format(store=shlex.quote(str(root)), data=cfg.data_words))
    return root


@contextmanager
def _writing(store: Path, info: StoreInfo) -> Iterator[LatentWriter]:
    """The writer of a store, alone in its folder; a finished store is not written, so it needs no lock."""
    if (store / INDEX).is_file() and (finished := LatentWriter(store, info)).complete:
        yield finished
        return
    with one_writer(store):
        yield LatentWriter(store, info)


def _counts(parts: dict[str, CachedClips]) -> str:
    return " and ".join(f"{counted(len(clips), 'clip')} of {part}" for part, clips in parts.items())
