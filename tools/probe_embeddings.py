"""What embeddings know about the human's plan: a linear map from ego state and embeddings to the
human's poses.

    python tools/probe_embeddings.py data/navsim_bench --train train_labelled --test test longtail \\
        --stores teacher=stores/teacher_0 permuted=stores/permuted_0 oracle=stores/codebook --out FILE

In a minute, where a planner takes hours, the probe tells whether a teacher has anything to offer,
and whether it is in its visual or its action embeddings. The first line uses the ego state alone;
every other line adds a store's action embeddings, its visual ones, or both. The map is a ridge
regression, whose penalty applies to the embeddings only and is chosen by five folds of training
drives. The numbers are the mean distance over poses between plan and human, in metres, on scenes
that the map was not fitted on. Differences have 95 % intervals by drive: of every line from the ego
state alone, and of each further store from the first one.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from records import write_record

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.counting import counted
from latentdrive.data.clips.data_set import DataSet
from latentdrive.data.latent_store import LatentStore
from latentdrive.planners.latents.stored import StoredLatents
from latentdrive.planners.sampling import NO_SENSORS, POSES
from latentdrive.run_folder import progress
from latentdrive.statistics import bootstrap_by_drive, recordings
from latentdrive.types import Command, EgoHistory, Origin

PENALTIES = 10.0 ** np.arange(0, 9)
FOLDS = 5
AT_ONCE = 500  # windows that are read from a store together
PARTS = {"action": ("action",), "visual": ("visual",), "both": ("action", "visual")}

Table = Float64[np.ndarray, "N D"]


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """N scenes of a split.

    status: the ego's state with products of its parts. plans: x, y of the human's poses.
    embeddings: by store, then by kind.
    """

    status: Table
    plans: Table
    drives: list[str]
    embeddings: dict[str, dict[str, Table]]

    def more(self, store: str | None, kinds: Sequence[str]) -> Table:
        """The embeddings of a store that are added to the ego's state; zero columns without a store."""
        return np.concatenate([np.zeros((len(self.drives), 0)), *(self.embeddings[store][kind] for kind in kinds)], 1)


def main() -> None:
    """Print a line for each store and kind, and write the numbers if --out is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", default="train", help="split that the map is fitted on")
    parser.add_argument("--test", nargs="+", default=["test"])
    parser.add_argument("--stores", nargs="+", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    data = build(compose("train_planner", ["data=navsim", f"data.path={options.folder}"]).data)
    stores = {name: open_store(folder) for name, _, folder in (word.partition("=") for word in options.stores)}
    train = read(data, options.train, stores)
    tests = {split: read(data, split, stores) for split in options.test}
    first, numbers, distances = next(iter(stores)), {}, {}
    for store, part in [(None, ""), *((store, part) for store in stores for part in PARTS)]:
        kinds = PARTS.get(part, ())
        fitted = Linear(train, train.more(store, kinds))
        for split, scenes in tests.items():
            own = distances[split, store, part] = distance(fitted(scenes, scenes.more(store, kinds)), scenes.plans)
            gains = {"ego state": own - distances[split, None, ""]}
            if store not in (None, first):
                gains[f"{first} {part}"] = own - distances[split, first, part]
            intervals = {name: bootstrap_by_drive(gain, scenes.drives) for name, gain in gains.items()}
            name = f"{split}, ego state" + (f" + {store} {part}" if store else "")
            numbers[name] = {
                "metres": vars(bootstrap_by_drive(own, scenes.drives)),
                "penalty": fitted.penalty,
                "minus": {name: vars(gain) for name, gain in intervals.items()},
            }
            beside = "  ".join(f"− {other}: {gain.within('+.3f')}" for other, gain in intervals.items())
            print(f"{name:<50} {own.mean():.3f} m  {beside}", flush=True)
    if options.out:
        write_record(options.out, train=options.train, scenes=len(train.drives), numbers=numbers)


def open_store(folder: str) -> StoredLatents:
    """A store of any origin. A codebook's store is opened as an oracle, because its codes know the future."""
    first = next(iter(sorted(Path(folder).glob("*/index.json"))), Path(folder) / "index.json")
    return StoredLatents(folder, oracle_future=LatentStore(first.parent).info.origin is Origin.INVERSE_DYNAMICS)


def read(data: DataSet, split: str, stores: dict[str, StoredLatents]) -> Scenes:
    """The scenes of a split, with the embeddings of the present."""
    source = data.open_scenes(split=split, needs=NO_SENSORS)
    for store in stores.values():
        store.require_labelled_scenes(source, source.tokens, watch=progress)
    status, plans, drives, rows = [], [], [], {name: [] for name in stores}
    for token in progress(source.tokens, what=split):
        scene = source[token]
        status.append(state(scene.ego))
        plans.append(source.truth(token).human.poses[:POSES, :2].ravel())
        drives.append(scene.drive)
        for name, store in stores.items():
            rows[name].append(store.find(token, scene.drive, scene.time_s))
    embeddings = {}
    for name, store in stores.items():
        batches = [store.batch(rows[name][begin : begin + AT_ONCE]) for begin in range(0, len(drives), AT_ONCE)]
        embeddings[name] = {
            kind: np.concatenate([getattr(batch, kind).double().flatten(1).numpy() for batch in batches])
            for kind in ("action", "visual")
        }
    return Scenes(status=np.array(status), plans=np.array(plans, np.float64), drives=drives, embeddings=embeddings)


def state(ego: EgoHistory) -> Float64[np.ndarray, "D"]:
    """Command, present velocity and acceleration, these by command, and their products with the speed."""
    command = np.eye(len(Command))[int(ego.command)]
    moving = np.concatenate([ego.velocity[-1], ego.acceleration[-1]]).astype(np.float64)
    return np.concatenate([command, moving, np.outer(command, moving).ravel(), moving[0] * moving])


class Linear:
    """A linear map to plans from the ego's state, and from what embeddings add to it.

    penalty: on the weights of the standardised embeddings, chosen by five folds of drives. If it is
    large, they add nothing.
    """

    def __init__(self, scenes: Scenes, more: Table) -> None:
        drives, drive = recordings(scenes.drives)
        if len(drives) < 2:
            raise SystemExit(
                f"--train: {counted(len(drives), 'drive')} with scenes; choosing the penalty takes at least 2: name "
                "another split"
            )
        fold = drive % FOLDS
        errors = np.zeros(len(PENALTIES))
        for number in np.unique(fold):
            inside, outside = fold != number, fold == number
            self._fit(scenes.status[inside], more[inside], scenes.plans[inside], PENALTIES)
            for place in range(len(PENALTIES)):
                plans = self._plans(scenes.status[outside], more[outside], place)
                errors[place] += distance(plans, scenes.plans[outside]).sum()
        self.penalty = float(PENALTIES[errors.argmin()])
        self._fit(scenes.status, more, scenes.plans, [self.penalty])

    def __call__(self, scenes: Scenes, more: Table) -> Table:
        """The expected plans."""
        return self._plans(scenes.status, more, 0)

    def _fit(self, status: Table, more: Table, plans: Table, penalties: Sequence[float]) -> None:
        self._mean, self._scale = more.mean(0), more.std(0) + 1e-6
        status = _with_one(status)
        self._of_state = np.linalg.pinv(status) @ plans
        more = (more - self._mean) / self._scale
        self._by_state = np.linalg.pinv(status) @ more  # what the state predicts of the embeddings
        left, sizes, right = np.linalg.svd(more - status @ self._by_state, full_matrices=False)
        rest = left.T @ (plans - status @ self._of_state)
        self._weights = [right.T @ ((sizes / (sizes**2 + penalty))[:, None] * rest) for penalty in penalties]

    def _plans(self, status: Table, more: Table, place: int) -> Table:
        status = _with_one(status)
        own = (more - self._mean) / self._scale - status @ self._by_state
        return status @ self._of_state + own @ self._weights[place]


def _with_one(status: Table) -> Table:
    return np.concatenate([status, np.ones((len(status), 1))], 1)


def distance(plans: Table, reference: Table) -> Float64[np.ndarray, "N"]:
    """Metres between two plans of each scene, averaged over poses."""
    return np.linalg.norm((plans - reference).reshape(len(plans), -1, 2), axis=-1).mean(1)


if __name__ == "__main__":
    main()
