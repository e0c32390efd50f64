"""Prepared scenes on disk: one safetensors file for the scenes of one log, with nothing pickled.

Scenes of a log overlap, so a file holds each map polygon once, and scenes refer to polygons by
number. A scene is an inner safetensors archive, compressed with deflate. Before that, floats are
laid out axis by axis and byte by byte (all first bytes, then all second ones), so that the bytes
that neighbouring numbers share lie together; every bit is restored. Each part has a checksum.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from jaxtyping import Float64, Int8, Int32
from safetensors import SafetensorError, safe_open

from latentdrive.counting import counted
from latentdrive.errors import StoreError, WrongShape
from latentdrive.files import inflate, write_atomic
from latentdrive.pdms.scene import LAYERS, Areas, Polygons, RedLights, ScoringScene, Tracks
from latentdrive.types import FROZEN

FORMAT = 2  # since 2, scenes say whether they are synthetic and leave out the simulated reference
HEAD, SCENE, AREAS = "about", "scene/", "areas"
PLANES = "/planes"  # suffix of the names of arrays that are stored byte by byte
LEVEL = 6  # zlib's compression level: files are a tenth smaller than at the fastest level, and open as quickly
CONNECTOR = LAYERS.index("LANE_CONNECTOR")
PLAIN = ("ego", "centreline", "reference", "history", "human", "human_terms")
DAMAGE = (
    SafetensorError,
    zlib.error,
    ValueError,
    MemoryError,
    RecursionError,
    KeyError,
    IndexError,
    TypeError,
    OSError,
)


@dataclass(**FROZEN)
class Header:
    """The header of a file.

    scenes: key and checksum of each scene, by token. areas: checksum of the polygons.
    """

    format: int
    generation: int
    scenes: dict[str, tuple[str, int]]
    areas: int


class AreaTable:
    """Map polygons, each stored once. `number` fills the table before writing, `take` reads from it."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, int, tuple[bytes, ...]], int] = {}
        self.ids: list[str] = []
        self.layers: list[int] = []
        self.rings: list[list[Float64[np.ndarray, "_ 2"]]] = []

    def number(self, ids: tuple[str, ...], layers: Int8[np.ndarray, "P"], polygons: Polygons) -> Int32[np.ndarray, "P"]:
        """Numbers of the given polygons in this table. Polygons that it lacks are added."""
        if (np.diff(polygons.owner) < 0).any() or len(ids) != len(layers):
            raise WrongShape(
                f"rings of {counted(len(ids), 'polygon')} are not in the order of the polygons: "
                f"{polygons.owner.tolist()}"
            )
        rings: list[list[np.ndarray]] = [[] for _ in ids]
        for owner, start, end in zip(polygons.owner.tolist(), polygons.ends[:-1].tolist(), polygons.ends[1:].tolist()):
            rings[owner].append(polygons.vertices[start:end])
        numbers = []
        for id_, layer, outline in zip(ids, layers.tolist(), rings):
            key = (id_, layer, tuple(ring.tobytes() for ring in outline))
            if key not in self._numbers:
                self._numbers[key] = len(self.ids)
                self._append(id_, layer, outline)
            numbers.append(self._numbers[key])
        return np.array(numbers, np.int32)

    def take(self, numbers: Int32[np.ndarray, "P"]) -> tuple[tuple[str, ...], Int8[np.ndarray, "P"], Polygons]:
        """Ids, layers and polygons by number."""
        picked = numbers.tolist()
        rings = [self.rings[number] for number in picked]
        flat = [ring for outline in rings for ring in outline]
        polygons = Polygons(
            vertices=np.concatenate([np.zeros((0, 2)), *flat]),
            ends=np.cumsum([0, *(len(ring) for ring in flat)]).astype(np.int32),
            owner=np.repeat(np.arange(len(rings), dtype=np.int32), [len(outline) for outline in rings]),
        )
        layers = np.array([self.layers[number] for number in picked], np.int8)
        return tuple(self.ids[number] for number in picked), layers, polygons

    def packed(self) -> bytes:
        """The table as bytes."""
        rings = [ring for outline in self.rings for ring in outline]
        return _pack(
            {
                "ids": _text(self.ids),
                "layers": np.array(self.layers, np.int8),
                "counts": np.array([len(outline) for outline in self.rings], np.int32),
                "sizes": np.array([len(ring) for ring in rings], np.int32),
                "vertices": np.concatenate([np.zeros((0, 2)), *rings]),
            }
        )

    @classmethod
    def unpacked(cls, content: bytes) -> "AreaTable":
        """The table, restored from its bytes."""
        arrays, table = _unpack(content), cls()
        ends = np.cumsum(arrays["sizes"])[:-1]
        rings = np.split(arrays["vertices"], ends) if len(arrays["sizes"]) else []
        last = np.cumsum(arrays["counts"]).tolist()
        for id_, layer, count, end in zip(
            _texts(arrays["ids"]), arrays["layers"].tolist(), arrays["counts"].tolist(), last, strict=True
        ):
            table._append(id_, layer, rings[end - count : end])
        return table

    def _append(self, id_: str, layer: int, rings: list[np.ndarray]) -> None:
        self.ids.append(id_)
        self.layers.append(layer)
        self.rings.append(rings)


def write_scenes(path: Path, scenes: Mapping[str, tuple[str, ScoringScene]], *, generation: int) -> None:
    """Write keys and scenes, by token, as one file, which appears whole or not at all. Raises DiskFull."""
    table, parts, listed = AreaTable(), {}, {}
    for token, (key, scene) in sorted(scenes.items()):
        content = _pack_scene(scene, table)
        parts[SCENE + token] = np.frombuffer(content, np.uint8)
        listed[token] = (key, zlib.crc32(content))
    areas = table.packed()
    parts[AREAS] = np.frombuffer(areas, np.uint8)
    head = {"format": FORMAT, "generation": generation, "areas": zlib.crc32(areas), "scenes": listed}
    # One entry of metadata, because safetensors writes several in a varying order. write_atomic
    # writes the bytes, because safetensors' own writer hides a full disk.
    content = safetensors.numpy.save(parts, metadata={HEAD: json.dumps(head)})
    write_atomic(path, lambda new: new.write_bytes(content))


class SceneFile:
    """One open file: `with SceneFile(path) as file: file.scene(token, file.areas())`.

    Raises StoreError if the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = safe_open(path, framework="np")
            self._file.__enter__()
        except FileNotFoundError:
            raise StoreError(f"{path} was removed after the store was opened") from None
        except DAMAGE as error:
            raise StoreError(f"{path} is cut short or damaged ({error})") from None
        try:
            head = json.loads(self._file.metadata()[HEAD])
            self.header = Header(
                format=int(head["format"]),
                generation=int(head["generation"]),
                scenes={token: (key, crc) for token, (key, crc) in head["scenes"].items()},
                areas=int(head["areas"]),
            )
        except DAMAGE as error:
            self.__exit__()
            raise StoreError(f"{path} has a damaged header ({error or type(error).__name__})") from None
        if self.header.format != FORMAT:
            self.__exit__()
            raise StoreError(f"{path} has format {self.header.format}, but this version reads {FORMAT}")

    def __enter__(self) -> "SceneFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.__exit__(None, None, None)

    def areas(self) -> AreaTable:
        """The polygons that the scenes of this file share."""
        content = self._part(AREAS, self.header.areas)
        try:
            return AreaTable.unpacked(content)
        except DAMAGE as error:
            raise StoreError(f"{self.path}: the map polygons can't be read ({error})") from None

    def scene(self, token: str, areas: AreaTable) -> ScoringScene:
        """One scene that the header lists. areas: those of this file."""
        content = self._part(SCENE + token, self.header.scenes[token][1])
        try:
            scene = _unpack_scene(content, areas)
        except DAMAGE as error:
            raise StoreError(f"{self.path}: scene {token} can't be read ({error})") from None
        if scene.token != token or scene.generation != self.header.generation:
            raise StoreError(
                f"{self.path}: the entry of scene {token} holds scene {scene.token} of generation {scene.generation}"
            )
        return scene

    def _part(self, name: str, checksum: int) -> bytes:
        try:
            content = self._file.get_tensor(name).tobytes()
        except DAMAGE as error:
            raise StoreError(f"{self.path}: {name} can't be read ({error})") from None
        if zlib.crc32(content) != checksum:
            raise StoreError(f"{self.path}: {name} is damaged, its checksum differs from the header's")
        return content


def _pack_scene(scene: ScoringScene, table: AreaTable) -> bytes:
    areas, tracks, lights = scene.areas, scene.tracks, scene.lights
    names = {"token": scene.token, "drive": scene.drive, "tracks": tracks.tokens, "names": tracks.names}
    numbers = {"generation": scene.generation, "time_us": scene.time_us, "synthetic": scene.synthetic}
    connectors = np.full(len(lights.connectors), CONNECTOR, np.int8)
    arrays = {name: getattr(scene, name) for name in PLAIN if getattr(scene, name) is not None}
    return _pack(
        arrays
        | {
            "head": _text(names | numbers),
            "reference_terms": np.array([scene.reference_product, scene.reference_progress_m], np.float64),
            "areas": table.number(areas.ids, areas.layers, areas.polygons),
            "on_route": areas.on_route,
            "sizes": tracks.sizes,
            "poses": tracks.poses,
            "present": tracks.present,
            "first_velocity": tracks.first_velocity,
            "lights": table.number(lights.connectors, connectors, lights.polygons),
            "red": lights.red,
        }
    )


def _unpack_scene(content: bytes, table: AreaTable) -> ScoringScene:
    arrays = _unpack(content)
    head = _texts(arrays["head"])
    ids, layers, polygons = table.take(arrays["areas"])
    connectors, _, lit = table.take(arrays["lights"])
    product, progress = arrays["reference_terms"].tolist()
    return ScoringScene(
        token=head["token"],
        drive=head["drive"],
        synthetic=head["synthetic"],
        generation=head["generation"],
        time_us=head["time_us"],
        areas=Areas(ids=ids, layers=layers, on_route=arrays["on_route"], polygons=polygons),
        tracks=Tracks(
            tokens=tuple(head["tracks"]),
            names=tuple(head["names"]),
            **{name: arrays[name] for name in ("sizes", "poses", "present", "first_velocity")},
        ),
        lights=RedLights(connectors=connectors, red=arrays["red"], polygons=lit),
        reference_product=product,
        reference_progress_m=progress,
        **{name: arrays.get(name) for name in PLAIN},
    )


def _pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    laid = {}
    for name, array in arrays.items():
        if array.dtype == np.float64 and array.size:
            planes = np.ascontiguousarray(array.T).reshape(-1, 1).view(np.uint8).T
            laid[name + PLANES] = np.ascontiguousarray(planes).reshape(8, *array.T.shape)
        else:
            laid[name] = np.ascontiguousarray(array)
    return zlib.compress(safetensors.numpy.save(laid), LEVEL)


def _unpack(content: bytes) -> dict[str, np.ndarray]:
    arrays = safetensors.numpy.load(inflate(content))
    for name in [name for name in arrays if name.endswith(PLANES)]:
        planes = arrays.pop(name)
        values = np.ascontiguousarray(planes.reshape(8, -1).T).view(np.float64).reshape(planes.shape[1:])
        arrays[name.removesuffix(PLANES)] = np.ascontiguousarray(values.T)
    return arrays


def _text(value: object) -> np.ndarray:
    """JSON in UTF-8, as an array of bytes."""
    return np.frombuffer(json.dumps(value, ensure_ascii=False).encode("utf-8"), np.uint8)


def _texts(array: np.ndarray):
    return json.loads(array.tobytes())
