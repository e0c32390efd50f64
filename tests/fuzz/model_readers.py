"""Readers of what models leave and take: checkpoints, states, stores, caches, dictionaries, messages of a planner."""

import hashlib
import io
import json
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import safetensors.numpy
import torch

from latentdrive import checkpoint
from latentdrive.backbones import PixelFeatures
from latentdrive.codebook.judging.dictionary import Dictionary
from latentdrive.config import to_yaml
from latentdrive.data.latent_store import INDEX, LatentStore, LatentWriter
from latentdrive.errors import LatentDriveError
from latentdrive.evaluation.trajectories_file import read_trajectories, write_trajectories
from latentdrive.export.bundle import seal
from latentdrive.export.bundle_planner import BundlePlanner
from latentdrive.export.made_scene import made_scene
from latentdrive.export.runtime import CARD, BundleError, Runtime, file_sum
from latentdrive.files import read_arrays
from latentdrive.integrations.planner_server import serve
from latentdrive.integrations.planner_wire import receive, send
from latentdrive.pdms.storage.scene_file import HEAD, SCENE
from latentdrive.pdms.storage.store import ScoringStore
from latentdrive.plain_files import read_yaml
from latentdrive.planners.baselines.constant_velocity import ConstantVelocity
from latentdrive.planners.inputs.scene_cache import SceneCache
from latentdrive.planners.transfuser.official import PREFIX, read_official
from latentdrive.progress import unwatched
from latentdrive.stages.resume import SETTINGS, resume
from latentdrive.stages.state import STATE
from latentdrive.types import Trajectory
from tests.fuzz.harness import Reader
from tests.support.hand_bundle import HEIGHT, WIDTH, write_bundle
from tests.support.latent import make_info, make_windows
from tests.support.report import make_dictionary
from tests.support.scoring_store import Drives, build

BYTES = {".npz": None}  # nobody but us writes these
PIXELS = {"_target_": "latentdrive.backbones.PixelFeatures", "channels": 4, "stride": 2}


def _checkpoint(folder: Path, variant: int) -> None:
    torch.manual_seed(variant)
    card = checkpoint.Card(
        kind="PixelFeatures", parents={"codebook": "abc"}, former_ids={"abc": ["old"]}, commit="made"
    )
    checkpoint.save(folder / "made", PixelFeatures(channels=4, stride=2), config=PIXELS, card=card)


def _read_checkpoint(folder: Path) -> Any:
    model, card = checkpoint.load(folder / "made")
    return model, card.fingerprint, card.parents, card.former_ids


def _seal_checkpoint(folder: Path) -> None:
    """Make the hashes of a changed checkpoint right."""
    made = folder / "made"
    card, config = json.loads((made / "card.json").read_text()), read_yaml(made / "config.yaml")
    card["weights_sha256"] = hashlib.sha256((made / "model.safetensors").read_bytes()).hexdigest()
    card["fingerprint"] = checkpoint.fingerprint(card["weights_sha256"], card.get("files", {}), config)
    card["card_sha256"] = ""  # as in the cards of early versions
    (made / "card.json").write_text(json.dumps(card))


def _latents(folder: Path, variant: int) -> None:
    writer = LatentWriter(folder / "store", make_info())
    for number in range(2):
        writer.add(make_windows([number], each=2, seed=number + 5 * variant), next_clip=number + 1, unreadable=[])
    writer.finish()


def _read_latents(folder: Path) -> Any:
    store = LatentStore(folder / "store")
    labels = store.batch(range(len(store)))
    addresses = [store.find(key, t0) for key, t0 in zip(store.keys, store.t0_s)]
    features = None if labels.features is None else (labels.features.visual, labels.features.action)
    arrays = (labels.codes, labels.environment, labels.logits, features, store.codes(), store.known, store.t0_s)
    about = (store.info, store.fingerprint, store.keys, store.drives, store.unreadable, addresses)
    return arrays, about


def _seal_latents(folder: Path) -> None:
    """Make the sums of changed shards right."""
    index = json.loads((folder / "store" / INDEX).read_text())
    for shard in index["shards"]:
        shard["sha256"] = hashlib.sha256((folder / "store" / shard["file"]).read_bytes()).hexdigest()
    (folder / "store" / INDEX).write_text(json.dumps(index))


def _scenes(folder: Path, variant: int) -> None:
    build(folder / "store", Drives(speed=2.0 + variant), tokens=("a@0", "a@1"))


def _read_scenes(folder: Path) -> Any:
    store = ScoringStore(folder / "store")
    return store.tokens, [store.get(token) for token in ("a@0", "a@1")]


def _seal_scenes(folder: Path) -> None:
    """Damage the inside of a scene, behind a checksum that is right."""
    (path,) = (folder / "store").glob("*.scenes")
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    head = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][HEAD])
    parts = safetensors.numpy.load(data)
    seed = zlib.crc32((folder / "store" / "store.json").read_bytes())
    inside = bytearray(zlib.decompress(parts[f"{SCENE}a@0"].tobytes()))
    for place in range(3):
        inside[(seed >> (8 * place)) * 7919 % len(inside)] ^= 1 << (seed >> place) % 8
    packed = zlib.compress(bytes(inside))
    parts[f"{SCENE}a@0"] = np.frombuffer(packed, np.uint8)
    head["scenes"]["a@0"][1] = zlib.crc32(packed)
    path.write_bytes(safetensors.numpy.save(parts, metadata={HEAD: json.dumps(head)}))
    (folder / "store" / "store.json").write_text(
        json.dumps({"format": head["format"], "generation": head["generation"]})
    )


class _Module(L.LightningModule):
    """The smallest module with a state."""

    def __init__(self) -> None:
        super().__init__()
        self.model = torch.nn.Linear(2, 2)


SETTINGS_OF_A_RUN = {"model": {"width": 2}, "training": {"lr": 0.1}, "batches": {"size": 3}, "seed": 1, "parents": {}}


def _state(folder: Path, variant: int) -> None:
    torch.manual_seed(variant)
    (folder / "run/resume").mkdir(parents=True)
    module = _Module()
    optimiser = torch.optim.AdamW(module.parameters())
    content = {"state_dict": module.state_dict(), "optimizer_states": [optimiser.state_dict()], "global_step": 3}
    torch.save(content, folder / "run/resume" / STATE)
    (folder / "run/resume" / SETTINGS).write_text(to_yaml(SETTINGS_OF_A_RUN))


def _read_state(folder: Path) -> Any:
    module = _Module()
    done = resume(module, folder / "run/resume" / STATE, SETTINGS_OF_A_RUN, free=())
    return module, tuple(done)


def _official(folder: Path, variant: int) -> None:
    torch.manual_seed(variant)
    torch.save(
        {"state_dict": {f"{PREFIX}a.weight": torch.randn(2, 2), f"{PREFIX}b": torch.zeros(1)}}, folder / "a.ckpt"
    )


class _Made:
    """Opens scenes for the planner's cache."""

    def __call__(self, token: str) -> dict[str, np.ndarray]:
        number = int(token[1:])
        return {"picture": np.full((2, 3), number, np.uint8), "speed": np.float32(number / 7)}


def _planner_cache(folder: Path) -> SceneCache:
    cache = SceneCache(folder / "cache", [f"t{k}" for k in range(5)], _Made(), content="made")
    cache.fill(workers=0, progress=unwatched)
    return cache


def _read_planner_cache(folder: Path) -> Any:
    cache = _planner_cache(folder)
    return cache.rows(), cache.read(cache.rows())


def _dictionary(folder: Path, variant: int) -> None:
    made = make_dictionary(flow=not variant)
    made.save(folder / "a.npz")


def _trajectories(folder: Path, variant: int) -> None:
    planned = {f"t{k}": Trajectory(poses=np.full((4 + k % 2, 3), k + variant, np.float32), dt_s=0.5) for k in range(3)}
    write_trajectories(folder / "trajectories.npz", planned)


def _archive(folder: Path, variant: int) -> None:
    np.savez(folder / "a.npz", numbers=np.arange(5) + variant, texts=np.array(["a", "b"]), one=np.array(1.5))


def _messages(folder: Path, variant: int) -> None:
    arrays = {
        "poses": np.cumsum(np.full((4, 3), 0.5 + variant), 0) * [1, 0, 0],
        "velocity": np.full((4, 2), 5.0),
        "acceleration": np.zeros((4, 2)),
        "command": np.tile([0, 1, 0, 0], (4, 1)),
    }
    stream = io.BytesIO()
    send(stream, {"scene": "s1"}, arrays)
    send(stream, {"scene": "s2"}, arrays)
    (folder / "messages").write_bytes(stream.getvalue())


def _receive(folder: Path) -> Any:
    with open(folder / "messages", "rb") as stream:
        return list(iter(lambda: receive(stream), None))


def _serve(folder: Path) -> Any:
    answers = io.BytesIO()
    with open(folder / "messages", "rb") as stream:
        serve(ConstantVelocity(), stream, answers)
    return answers.getvalue()


def _bundle(folder: Path, variant: int) -> None:
    shutil.rmtree(folder)
    write_bundle(folder, kind=f"StraightOn{variant}")


def _read_bundle(folder: Path) -> Any:
    runtime = Runtime(str(folder), threads=1, clock=lambda: 1.0)
    planner = BundlePlanner(path=str(folder), provider="cpu", threads=1, trust=False)
    planned = planner.plan([made_scene(planner.needs, (HEIGHT, WIDTH))]).poses if planner.needs.cameras else None
    return planned, runtime.card, runtime.plan().status.source


def _seal_bundle(folder: Path) -> None:
    """Make all sums right after a change."""
    card = json.loads((folder / CARD).read_text())
    card["files"] = {name: file_sum(folder / name) for name in card["files"]}
    seal(folder, card)


MODEL_READERS = (
    Reader(name="checkpoint", make=_checkpoint, read=_read_checkpoint, files=("made/[mc]*",), checked=True),
    Reader(
        name="checkpoint with right sums",
        make=_checkpoint,
        read=_read_checkpoint,
        files=("made/[mc]*",),
        seal=_seal_checkpoint,
    ),
    Reader(name="latent store", make=_latents, read=_read_latents, checked=True),
    Reader(name="latent store with right sums", make=_latents, read=_read_latents, seal=_seal_latents),
    Reader(
        name="scoring store", make=_scenes, read=_read_scenes, files=("store/*.scenes", "store/*.json"), checked=True
    ),
    Reader(
        name="scoring store with right sums",
        make=_scenes,
        read=_read_scenes,
        files=("store/*.json",),
        seal=_seal_scenes,
    ),
    Reader(name="bundle", make=_bundle, read=_read_bundle, allowed=(LatentDriveError, BundleError), checked=True),
    Reader(
        name="bundle with right sums",
        make=_bundle,
        read=_read_bundle,
        allowed=(LatentDriveError, BundleError),
        seal=_seal_bundle,
    ),
    Reader(name="resume state", make=_state, read=_read_state, checked=True),
    Reader(name="NAVSIM's weights", make=_official, read=lambda folder: read_official(folder / "a.ckpt")),
    Reader(
        name="planner's cache",
        make=lambda folder, _: _planner_cache(folder),
        read=_read_planner_cache,
        formats=BYTES,
        checked=True,
        writes=True,
    ),
    Reader(
        name="dictionary",
        make=_dictionary,
        read=lambda folder: Dictionary.load(folder / "a.npz"),
        formats=BYTES,
        checked=True,
    ),
    Reader(
        name="trajectories",
        make=_trajectories,
        read=lambda folder: read_trajectories(folder / "trajectories.npz"),
        formats=BYTES,
    ),
    Reader(
        name="archive of arrays",
        make=_archive,
        read=lambda folder: read_arrays(folder / "a.npz"),
        allowed=(ValueError,),
    ),
    Reader(name="planner's messages", make=_messages, read=_receive, allowed=(ValueError,)),
    Reader(name="planner's server", make=_messages, read=_serve, allowed=(ValueError, LatentDriveError)),
)
