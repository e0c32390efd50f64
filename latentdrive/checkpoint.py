"""Checkpoints: folders that describe themselves and hold no pickle.

`model.safetensors` (weights), `config.yaml` (the whole configuration that builds the model),
`card.json` (what the model is, what it was made from, how good it is) and `README.md` (the card for
people). `load` needs the folder and nothing else; it refuses folders with a missing or altered file.
Stores and later checkpoints refer to a checkpoint by its fingerprint, which covers weights, files and
configuration. The maker of a folder can make its hashes match, so its configuration may build only
classes that are marked with `checkpoint_part`.
"""

import hashlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_model, save_file
from torch import Tensor, nn

from latentdrive import __version__
from latentdrive.build import CHECKPOINT_PARTS, TARGET, build, locate
from latentdrive.checkpoint_parts import KeepsFiles, SpeaksCodes
from latentdrive.config import to_yaml
from latentdrive.errors import CheckpointError, ConfigError, reason_of
from latentdrive.files import atomic_folder, reading
from latentdrive.identity import are_former_ids, digest
from latentdrive.kinds import mismatch
from latentdrive.plain_files import as_json, read_json, read_yaml
from latentdrive.weight_budget import weights_within

FORMAT = 2  # in format 1, fingerprints also covered module paths
WEIGHTS, CONFIG, CARD, README = "model.safetensors", "config.yaml", "card.json", "README.md"
FILES = "files"  # folder of what a model keeps besides weights (the teacher: tokenizer and processor)
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Card:
    """The card of a checkpoint: what it is, what it was made from and how good it is.

    kind: class of the model. fingerprint: of weights, files and configuration. files: path below the
    folder → sha256, for models that keep files. parents: role → fingerprint of what the model was made
    from. former_ids: fingerprint → earlier fingerprints of the same content, for this checkpoint and
    its parents; stores and planners that carry an earlier one are still accepted. data: what the model
    was trained on (paths, counts, poses and intrinsics used). metrics: name → number, with the part of
    the data in the name. commit: of the code that trained. card_sha256: of all other entries, see
    `sealed`; empty in the cards of early versions.
    """

    kind: str
    fingerprint: str = ""
    weights_sha256: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    parents: Mapping[str, str] = field(default_factory=dict)
    former_ids: Mapping[str, list[str]] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    commit: str = ""
    version: str = __version__
    format: int = FORMAT
    card_sha256: str = ""


def sealed(card: Card) -> Card:
    """The card with the sum over its other entries, so that no altered one passes for it."""
    return replace(card, card_sha256=_sum_of(json.loads(as_json(asdict(card), default=str))))


def _sum_of(content: Mapping[str, Any]) -> str:
    """The sum over a card's entries as JSON holds them, but for that of the sum itself."""
    entries = {name: value for name, value in content.items() if name != "card_sha256"}
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def save(folder: str | Path, model: nn.Module, *, config: Mapping[str, Any], card: Card) -> Card:
    """Write a checkpoint folder, as a whole or not at all. Returns the card with its fingerprints filled in."""
    folder = Path(folder)
    with atomic_folder(folder) as new:
        save_file(_each_once(model), str(new / WEIGHTS))
        (new / CONFIG).write_text(to_yaml(config), encoding="utf-8")
        if isinstance(model, KeepsFiles):
            model.save_files(new / FILES)
        weights = _sha256(new / WEIGHTS)
        files = {p.relative_to(new).as_posix(): _sha256(p) for p in sorted((new / FILES).rglob("*")) if p.is_file()}
        filled = asdict(card) | {
            "weights_sha256": weights,
            "files": files,
            "fingerprint": fingerprint(weights, files, config),
            "commit": card.commit or commit(),
        }
        card = sealed(Card(**filled))
        (new / CARD).write_text(as_json(asdict(card), default=str), encoding="utf-8")
        (new / README).write_text(readme(folder.name, card), encoding="utf-8")
    return card


def load(folder: str | Path, *, expect: type[Model] = nn.Module, **given: Any) -> tuple[Model, Card]:
    """The model in `folder` (in evaluation mode, on the CPU) and its card. given: arguments for `build`.

    Raises CheckpointError for a missing or altered file, for a class that is not an `expect`, for a
    configuration that names anything but checkpoint parts, and for weights that do not fit.
    """
    with reading(folder) as standing:
        return _load(standing, expect, given)


def _load(folder: Path, expect: type[Model], given: Mapping[str, Any]) -> tuple[Model, Card]:
    card = _read_card(folder)
    if (sha256 := _sha256(folder / WEIGHTS)) != card.weights_sha256:
        raise CheckpointError(
            f"{folder / WEIGHTS} was altered: its sha256 is {sha256[:16]}…, the card says {card.weights_sha256[:16]}…; "
            "copy the folder again from where it was made"
        )
    config = _read_config(folder / CONFIG)
    if fingerprint(card.weights_sha256, card.files, config) != card.fingerprint:
        raise CheckpointError(
            f"{folder / CONFIG} was altered: it does not match the fingerprint {card.fingerprint}; copy the folder "
            "again from where it was made"
        )
    try:
        kind = locate(str(config.get(TARGET)), CHECKPOINT_PARTS)
        if not (isinstance(kind, type) and issubclass(kind, expect)):
            raise CheckpointError(f"{folder} holds a {kind.__name__}, expected {expect.__name__}: name another folder")
        with weights_within(folder / WEIGHTS):
            arguments = _arguments_from_files(folder, card, kind) | given
            model = build(config, CHECKPOINT_PARTS, **arguments)
    except CheckpointError:
        raise
    except ConfigError as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from None
    except Exception as error:  # whatever a constructor makes of arguments that it was never meant for
        raise CheckpointError(f"{folder / CONFIG} describes no model that can be built: {reason_of(error)}") from error
    try:
        load_model(model, str(folder / WEIGHTS), strict=True)
    except (RuntimeError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: the weights do not fit the model of {CONFIG}: {reason_of(error)}") from None
    if isinstance(model, SpeaksCodes):
        # A codebook speaks its own codes; a model that was trained on codes has their codebook among
        # its parents.
        model.codebook_id = card.parents.get("codebook", card.fingerprint)
        model.former_ids = card.former_ids
    return model.eval(), card


def read_card(folder: str | Path) -> Card:
    """The card of a checkpoint. Raises CheckpointError where the folder is no complete checkpoint of
    this format.
    """
    with reading(folder) as standing:
        return _read_card(standing)


def _read_card(folder: Path) -> Card:
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder; a checkpoint is a folder with {WEIGHTS}, {CONFIG} and {CARD}")
    if missing := [name for name in (WEIGHTS, CONFIG, CARD) if not (folder / name).is_file()]:
        present = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        hint = f"; did you mean {folder / 'checkpoint'}?" if (folder / "checkpoint" / CARD).is_file() else ""
        raise CheckpointError(f"{folder} lacks {', '.join(missing)}; it holds: {present}{hint}")
    try:
        content = read_json(folder / CARD)
    except ValueError as error:
        raise CheckpointError(f"{folder / CARD} {error}; copy the folder again") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{folder / CARD} is no card: a card is a JSON object; copy the folder again")
    if content.get("format") != FORMAT:
        remedy = (
            "convert it: python tools/convert_runs.py FOLDER" if content.get("format") == 1 else "update latentdrive"
        )
        raise CheckpointError(f"{folder} has format {content.get('format')}, this version reads {FORMAT}: {remedy}")
    known = {field.name for field in fields(Card)}
    if "kind" not in content or not content.keys() <= known:
        wrong = ", ".join(f"unknown {name}" for name in sorted(content.keys() - known)) or "no kind"
        raise CheckpointError(
            f"{folder / CARD} is no card of this version ({wrong}); copy the folder again, or update latentdrive"
        )
    for entry in fields(Card):
        if entry.name in content and (odd := mismatch(entry.name, content[entry.name], entry.type)):
            raise CheckpointError(f"{folder / CARD} is no card ({odd}); copy the folder again")
    card = Card(**content)
    if card.card_sha256 not in ("", _sum_of(content)):
        raise CheckpointError(
            f"{folder / CARD} was altered: its entries don't fit its card_sha256; copy the folder again"
        )
    if not are_former_ids(card.former_ids) or not card.former_ids.keys() <= {card.fingerprint, *card.parents.values()}:
        raise CheckpointError(
            f"{folder / CARD}: former_ids must map the fingerprint of this checkpoint or of a parent to a list of "
            "earlier ones; copy the folder again"
        )
    return card


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = read_yaml(path)
    except ValueError as error:
        raise CheckpointError(f"{path} {error}; copy the folder again from where it was made") from None
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} describes no model; copy the folder again from where it was made")
    return config


def commit() -> str:
    """The commit that this code comes from, with `+` where files differ from it. The version outside a
    repository.
    """
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return __version__
    try:
        head = subprocess.run(["git", "-C", root, "describe", "--always", "--dirty=+"], capture_output=True, text=True)
    except FileNotFoundError:
        return __version__
    return head.stdout.strip() or __version__


def _each_once(model: nn.Module) -> dict[str, Tensor]:
    """All weights; shared ones under their first name only, because `load_model` finds the other names
    by itself.

    Safetensors' own `save_model` lists shared names in random order: equal weights would get different
    fingerprints.
    """
    weights, places = {}, set()
    for name, tensor in sorted(model.state_dict().items()):
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        if tensor.numel() == 0 or place not in places:
            weights[name] = tensor.contiguous()
            places.add(place)
    return weights


def _arguments_from_files(folder: Path, card: Card, kind: type[nn.Module]) -> Mapping[str, Any]:
    if not isinstance(card.files, Mapping) or any(_leads_out(name) for name in card.files):
        raise CheckpointError(f"{folder / CARD} lists files outside of {folder / FILES}; copy the folder again")
    present = {p.relative_to(folder).as_posix() for p in (folder / FILES).rglob("[!.]*") if p.is_file()}
    if unlisted := sorted(present - card.files.keys()):  # the model would read it, and nothing vouches for it
        raise CheckpointError(f"{folder} holds {unlisted[0]}, which its card does not list; copy the folder again")
    for name, expected in card.files.items():
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} lacks {name}; copy the folder again from where it was made")
        if _sha256(folder / name) != expected:
            raise CheckpointError(f"{folder / name} was altered: its sha256 is not the card's; copy the folder again")
    return kind.from_files(folder / FILES) if card.files and issubclass(kind, KeepsFiles) else {}


def _leads_out(name: str) -> bool:
    """Whether a name on a card means anything but a file below the folder of files."""
    parts = name.split("/")
    return parts[0] != FILES or len(parts) < 2 or not all(part.strip(".") for part in parts)


def fingerprint(weights: str, files: Mapping[str, str], config: Mapping[str, Any]) -> str:
    """16 hexadecimal digits over the sha256 of the weights, those of the files and the configuration's
    identity.
    """
    return digest({"weights": weights, "files": dict(files), "config": config})


def file_fingerprint(path: str | Path) -> str:
    """16 hexadecimal digits over the bytes of a file. Raises CheckpointError where there is no such file."""
    if not Path(path).is_file():
        raise CheckpointError(f"{path} is no file: name a checkpoint file that exists")
    return _sha256(Path(path))[:16]


def _sha256(path: Path) -> str:
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            hashed.update(block)
    return hashed.hexdigest()


def readme(name: str, card: Card) -> str:
    """The card as Markdown, for people. name: of the folder."""
    lines = [
        f"# {name}: a {card.kind.rsplit('.', 1)[-1]}",
        "",
        f"Made by `{card.command}` at commit {card.commit}.",
        "",
    ]
    lines += [f"* fingerprint `{card.fingerprint}`, format {card.format}, latentdrive {card.version}"]
    lines += [f"* made from {parent}: `{fingerprint}`" for parent, fingerprint in card.parents.items()]
    lines += [f"* data, {key}: {value}" for key, value in card.data.items()]
    lines += ["", "| metric | value |", "|---|---|"]
    lines += [f"| {key} | {_in_words(value)} |" for key, value in card.metrics.items()]
    return "\n".join(lines) + "\n"


def _in_words(value: Any) -> str:
    if value is None or value != value:  # NaN and null: there is no such number, as an interval of one drive
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
