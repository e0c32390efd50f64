"""Building a store of prepared scenes: what is missing, stale or damaged is prepared, everything else stays.

The key of an entry is a hash of everything that its preparation read (scene_key.py), so a second
build recognises stale entries. Files appear one by one, and whole or not at all: a build that was
killed continues where it stopped.
"""

import csv
import hashlib
import io
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import quote

import shapely

from latentdrive.counting import counted
from latentdrive.csv_cells import cell, text_of
from latentdrive.errors import LatentDriveError, NotWritable, StoreError, TooManyOpenFiles, WorkerDied
from latentdrive.files import write_atomic
from latentdrive.locks import one_writer
from latentdrive.pdms.scene import ScoringScene
from latentdrive.pdms.storage.scene_file import FORMAT, SceneFile, write_scenes
from latentdrive.pdms.storage.scene_key import scene_key
from latentdrive.pdms.storage.store import CARD, FAILED, SUFFIX, ScoringStore, other_generation, read_card
from latentdrive.pdms.versions import Rules
from latentdrive.progress import Progress
from latentdrive.types import FROZEN, SceneTruth
from latentdrive.worker_pool import run_jobs

STALE, DAMAGED = "log, map or route changed", "damaged, cut short or of another format"
# Errors in preparing one scene that do not end the build.
FAILURES = (
    LatentDriveError,
    ArithmeticError,
    LookupError,
    ValueError,
    TypeError,
    RuntimeError,
    shapely.errors.ShapelyError,
)
Prepare = Callable[[SceneTruth], ScoringScene]


@runtime_checkable
class TruthSource(Protocol):
    """The part of a SceneSource that a build needs.

    location: the file that a scene is read from. Scenes of one file are prepared together.
    """

    def truth(self, token: str) -> SceneTruth: ...

    def location(self, token: str) -> Path: ...


@dataclass(**FROZEN)
class BuildReport:
    """The result of a build.

    built: number of new scenes. kept: number of scenes that were up to date. rebuilt: counts by
    reason. failed: reasons by token. bytes_per_scene: on disk, over the whole store.
    scenes_per_second: prepared scenes, all processes together.
    """

    built: int
    kept: int
    rebuilt: dict[str, int]
    failed: dict[str, str]
    bytes_per_scene: float
    scenes_per_second: float

    def lines(self) -> list[str]:
        """The report in sentences."""
        made = self.built + sum(self.rebuilt.values())
        text = [f"{counted(made, 'scene')} prepared, {self.kept:,} kept, {self.bytes_per_scene / 1000:.1f} kB a scene"]
        if made:
            text[0] += f", {self.scenes_per_second:.1f} scenes a second"
        text += [f"{count:,} of these were prepared again: {reason}" for reason, count in sorted(self.rebuilt.items())]
        if self.failed:
            token, reason = next(iter(self.failed.items()))
            text.append(
                f"{counted(len(self.failed), 'scene')} can't be prepared (see {FAILED}); the first one, {token}: "
                f"{reason}"
            )
        return text


def build_store(
    folder: str | Path,
    source: TruthSource,
    tokens: Sequence[str],
    prepare: Prepare,
    *,
    rules: Rules,
    processes: int,
    memory_gb: float,
    progress: Progress | None,
    waiting: Callable[[str], Any] = print,
) -> BuildReport:
    """Prepare the scenes that are missing, stale or damaged in the store. Its other scenes stay.

    prepare: a function of a module, for the same `rules`. processes, memory_gb: as in run_jobs. The
    scenes of one file are one job, so each log is opened once, and each map once by every worker.
    progress: shows files, or None. waiting: is told where another process builds the same store; this one
    goes on when that has ended, and finds what it has prepared.

    Raises NotWritable, StoreError for a folder that holds scenes of the other generation, and, when all
    other scenes are prepared, WorkerDied for scenes whose process was killed. A scene that fails is
    listed in the report and in `failed.csv`; it does not end the build.
    """
    folder = Path(folder)
    work = partial(_prepare_file, source=source, prepare=prepare, rules=rules)
    run = partial(run_jobs, work, processes=processes, memory_gb=memory_gb, progress=progress, what="preparing scenes")
    with one_writer(folder, waiting=waiting):
        return _build(folder, source, tokens, rules, run)


def _build(
    folder: Path, source: TruthSource, tokens: Sequence[str], rules: Rules, run: Callable[..., Any]
) -> BuildReport:
    """run: run_jobs, to which the jobs alone are still to be given."""
    begun = time.perf_counter()
    _write_card(folder, rules)
    failed, groups = {}, {}
    for token in dict.fromkeys(tokens):
        try:
            groups.setdefault(source.location(token).name, []).append(token)
        except LatentDriveError as error:
            failed[token] = str(error)
    jobs = [(folder / _file_name(name), tuple(group)) for name, group in groups.items()]
    counts: Counter[str] = Counter()
    lost: list[Path] = []
    try:
        for (path, group), result in run(jobs):
            if isinstance(result, WorkerDied):
                failed |= dict.fromkeys(group, str(result))
                lost.append(path)
                continue
            counts.update(result[0])
            failed |= result[1]
    finally:
        _write_failed(folder, failed, tokens)
    if lost:  # want of memory is no fault of the scenes, and must not become a score of 0
        raise WorkerDied(
            f"{folder}: the processes that prepared {len(lost):,} of {len(jobs):,} logs were killed twice, perhaps for "
            f"want of memory; the first is {lost[0].stem}. All other scenes are prepared and kept: lower processes and "
            f"memory_gb, or remove these logs (see {FAILED}), and repeat the command"
        )
    rebuilt = {reason: counts[reason] for reason in (STALE, DAMAGED) if counts[reason]}
    made = counts["built"] + sum(rebuilt.values())
    store = ScoringStore(folder)
    size = sum(path.stat().st_size for path in folder.glob(f"*{SUFFIX}"))
    return BuildReport(
        built=counts["built"],
        kept=counts["kept"],
        rebuilt=rebuilt,
        failed=dict(sorted(failed.items())),
        bytes_per_scene=size / max(len(store), 1),
        scenes_per_second=made / (time.perf_counter() - begun),
    )


def _prepare_file(
    job: tuple[Path, tuple[str, ...]], *, source: TruthSource, prepare: Prepare, rules: Rules
) -> tuple[Counter[str], dict[str, str]]:
    """Bring one file up to date.

    Returns how many scenes were built, kept, or rebuilt by reason, and the reasons of those that
    failed.
    """
    path, tokens = job
    stored, damaged, unreadable = _stored(path, rules)
    scenes, counts, failed = dict(stored), Counter(), {}
    for token in tokens:
        try:
            truth = source.truth(token)
            key = scene_key(truth, rules, FORMAT)
            if token in stored and stored[token][0] == key:
                counts["kept"] += 1
                continue
            scenes.pop(token, None)  # if it fails now, its earlier state must not be scored
            scene = prepare(truth)
            if (scene.token, scene.generation) != (token, rules.generation):
                raise StoreError(
                    f"it was prepared as scene {scene.token} by the rules of NAVSIM v{scene.generation}, "
                    f"expected v{rules.generation}"
                )
            scenes[token] = (key, scene)
        except (NotWritable, TooManyOpenFiles):
            raise
        except FAILURES as error:
            failed[token] = (
                f"{type(error).__name__}: {error}" if not isinstance(error, LatentDriveError) else str(error)
            )
            continue
        counts[DAMAGED if unreadable or token in damaged else STALE if token in stored else "built"] += 1
    if damaged or scenes.keys() != stored.keys() or counts.total() > counts["kept"]:
        write_scenes(path, scenes, generation=rules.generation)
    return counts, failed


def _stored(path: Path, rules: Rules) -> tuple[dict[str, tuple[str, ScoringScene]], set[str], bool]:
    """Scenes of a file with their keys; tokens of damaged scenes; whether the whole file is damaged."""
    scenes: dict[str, tuple[str, ScoringScene]] = {}
    damaged: set[str] = set()
    if not path.exists():
        return scenes, damaged, False
    try:
        with SceneFile(path) as file:
            if file.header.generation != rules.generation:
                return {}, set(), True
            damaged = set(file.header.scenes)
            areas = file.areas()
            for token, (key, _) in file.header.scenes.items():
                with suppress(StoreError):
                    scenes[token] = (key, file.scene(token, areas))
    except StoreError:
        return {}, damaged, not damaged
    return scenes, damaged - scenes.keys(), False


def _file_name(name: str) -> str:
    """File name for the scenes of a log.

    It is the log's own name, as far as every file system accepts it, and a hash that keeps similar
    names apart.
    """
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{quote(name, safe='')[:120]}-{digest}{SUFFIX}"


def _write_card(folder: Path, rules: Rules) -> None:
    """Write a card unless the folder has one. Raises StoreError if it is of the other generation."""
    folder.mkdir(parents=True, exist_ok=True)
    generation = None
    with suppress(StoreError):  # without a card, or with one of another format, a new card is written
        generation = read_card(folder)
    if generation is None:
        text = json.dumps({"format": FORMAT, "generation": rules.generation}) + "\n"
        write_atomic(folder / CARD, lambda path: path.write_text(text, encoding="utf-8"))
    elif generation != rules.generation:
        raise StoreError(other_generation(folder, generation, rules))


def _write_failed(folder: Path, failed: dict[str, str], tokens: Sequence[str]) -> None:
    """List the scenes that failed in this build, and those of earlier builds that this one did not try."""
    rows, tried = dict(failed), set(tokens)
    with suppress(FileNotFoundError), (folder / FAILED).open(encoding="utf-8", newline="") as file:
        listed = {text_of(row["token"]): text_of(row["reason"]) for row in csv.DictReader(file)}
        rows |= {token: reason for token, reason in listed.items() if token not in tried}
    text = io.StringIO()
    cells = [tuple(map(cell, row)) for row in sorted(rows.items())]
    csv.writer(text, lineterminator="\n").writerows([("token", "reason"), *cells])
    write_atomic(folder / FAILED, lambda path: path.write_text(text.getvalue(), encoding="utf-8"))
