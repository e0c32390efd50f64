"""Prepared scenes on disk (the devkit's metric cache), opened by every scoring run and process.

A store is a folder with `store.json` (format and generation) and one file for the scenes of each
log (scene_file.py). building.py fills it. `failed.csv` lists the scenes that could not be prepared.
"""

import csv
from contextlib import suppress
from pathlib import Path

from latentdrive.csv_cells import text_of
from latentdrive.errors import StoreError
from latentdrive.lru_cache import LruCache
from latentdrive.pdms.scene import ScoringScene
from latentdrive.pdms.storage.scene_file import FORMAT, AreaTable, SceneFile
from latentdrive.pdms.versions import Rules
from latentdrive.plain_files import read_json

CARD, FAILED, SUFFIX = "store.json", "failed.csv", ".scenes"
OPEN_TABLES = 16  # files whose polygons stay in memory, some 100 kB each
AGAIN = "run the same command again, or latentdrive evaluate, which prepares missing scenes"


def store_name(scenes_id: str, rules: Rules) -> str:
    """Folder name of a store, the same for all planners on the same scenes by the same rules.

    scenes_id: SceneSettings.id_of.
    """
    return f"scoring_v{rules.generation}_{scenes_id}"


class ScoringStore:
    """A store to read from, also by many processes at once and during a build: open files stay as they were.

    rules: the rules by which the scenes must have been prepared, or None. tokens: of all scenes, by
    file. Raises StoreError if the folder is no store, or one of another format or generation. `get`
    reports damaged files.
    """

    def __init__(self, folder: str | Path, *, rules: Rules | None = None) -> None:
        self.folder = Path(folder)
        self.generation = read_card(self.folder)
        if rules is not None and self.generation != rules.generation:
            raise StoreError(other_generation(self.folder, self.generation, rules))
        self._files: dict[str, Path] = {}
        self._damaged: dict[str, str] = {}
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            try:
                with SceneFile(path) as file:
                    self._files |= dict.fromkeys(file.header.scenes, path)
            except StoreError as error:
                self._damaged[path.name] = str(error)
        self.tokens: tuple[str, ...] = tuple(self._files)
        self._tables: LruCache[tuple[Path, int, int], AreaTable] = LruCache(OPEN_TABLES)

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: str) -> bool:
        return token in self._files

    def get(self, token: str) -> ScoringScene:
        """A prepared scene. Raises StoreError if it is missing, damaged, or of another format or generation."""
        if token not in self._files:
            raise StoreError(self._missing(token))
        try:
            with SceneFile(self._files[token]) as file:
                if file.header.generation != self.generation or token not in file.header.scenes:
                    raise StoreError(
                        f"{file.path} was replaced after the store was opened, and no longer has this scene"
                    )
                return file.scene(token, self._areas(file))
        except StoreError as error:
            raise StoreError(f"scene {token} of the store {self.folder}: {error}; {AGAIN}") from None

    def _areas(self, file: SceneFile) -> AreaTable:
        key = (file.path, file.header.areas, len(file.header.scenes))
        return self._tables.get(key, file.areas)

    def _missing(self, token: str) -> str:
        text = f"the store {self.folder} has no scene {token} among {len(self):,}"
        with suppress(FileNotFoundError), (self.folder / FAILED).open(encoding="utf-8", newline="") as file:
            failed = {text_of(row["token"]): text_of(row["reason"]) for row in csv.DictReader(file)}
            if token in failed:
                return f"{text}: it could not be prepared ({failed[token]})"
        if self._damaged:
            name, reason = next(iter(self._damaged.items()))
            text += f"; {len(self._damaged)} of its files can't be read, the first one, {name}: {reason}"
        return f"{text}; {AGAIN}"


def read_card(folder: Path) -> int:
    """The generation of the rules by which a store's scenes were prepared."""
    try:
        card = read_json(folder / CARD)
        format_number, generation = card["format"], card["generation"]
        if not isinstance(generation, int):
            raise ValueError(f"its generation is {generation!r}")
    except FileNotFoundError:
        raise StoreError(
            f"{folder} is no store of prepared scenes, because it has no {CARD}: {AGAIN}, or correct the folder"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder / CARD} is damaged ({error}): remove it, and {AGAIN}") from None
    if format_number != FORMAT:
        raise StoreError(f"the store {folder} has format {format_number}, but this version reads {FORMAT}: {AGAIN}")
    return generation


def other_generation(folder: Path, generation: int, rules: Rules) -> str:
    """Error text for a store prepared by the other generation's rules."""
    return (
        f"the store {folder} holds scenes prepared by the rules of NAVSIM v{generation}, but v{rules.generation} is "
        "needed: give another folder (store=FOLDER)"
    )
