"""Convert runs and checkpoints that were made before the modules moved into rooms, so that this version opens them.

    python tools/convert_runs.py runs checkpoints

Below each folder named, the tool rewrites the configuration of every run, every checkpoint and
every saved training state: classes get their present modules, keys their present names. Hashes no
longer cover module paths, so each checkpoint gets a new fingerprint. Its card keeps the earlier one
under `former_ids`, and everything that names the earlier one is still accepted: latent stores
therefore need no conversion. A folder that is up to date stays as it is.

The tool lists what it converted. It ends with status 1 if it refused a checkpoint, and says why.
"""

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from latentdrive import checkpoint
from latentdrive.checkpoint import CARD, CONFIG, FORMAT, README, WEIGHTS, Card
from latentdrive.config import configs_folder, from_yaml, to_yaml
from latentdrive.errors import CheckpointError, LatentDriveError
from latentdrive.files import DRAFT, write_atomic
from latentdrive.identity import PACKAGE, TARGET, are_former_ids, own_name
from latentdrive.plain_files import as_json
from latentdrive.run_folder import METRICS, RESUME

SETTINGS = f"{RESUME}/settings.yaml"
# Classes and functions that have another name now: full name before the move → own name.
RENAMED = {
    "latentdrive.codebook.objectives.LossWeights": "CodebookLoss",
    "latentdrive.codebook.phases.Schedule": "PhaseSchedule",
    "latentdrive.data.clip_data.ClipData": "DataSet",
    "latentdrive.data.navsim_logs.NavsimLogs": "NavsimSettings",
    "latentdrive.data.navsim_two_stage.open_two_stage": "TwoStageSettings",
    "latentdrive.data.scenario_logs.ScenarioLogs": "ScenarioSettings",
    "latentdrive.planners.eyes.Eyes": "Sensors",
    "latentdrive.student.training.LossWeights": "StudentLoss",
    "latentdrive.teacher.hugging_face.load": "load_qwen",
    "latentdrive.teacher.tiny.load": "load_tiny_qwen",
    "latentdrive.world.own_way.OwnWay": "IndependentMotion",
}
WORLD = {"what", "world", "split"}  # keys of the card of clips that the built-in world wrote
KEYS = {"eyes": "sensors", "own_way": "ego_motion"}  # of planners; of traffic in the built-in world
SCENE_SETTINGS = ("NavsimSettings", "TwoStageSettings", "ScenarioSettings")
OPTIONS = ("fit", "images_hz", "poses", "field_of_view_deg")  # of a clip source, now in `options`
TIMES = ("path", "train_share", "gap_s")  # of a clip source, now in `part`; `part` itself is `times`
GIVEN = ("rate_hz", "height", "width")  # of a clip source: the data set gives them


@cache
def present_modules() -> dict[str, str]:
    """Own name → full name of every class and function that the present configurations build."""
    texts = (file.read_text(encoding="utf-8") for file in sorted(configs_folder().rglob("*.yaml")))
    targets = {target for text in texts for target in re.findall(rf"{TARGET}:\s*({PACKAGE}[\w.]+)", text)}
    return {own_name(target): target for target in targets}


def present_name(target: str) -> str:
    """Where a class of this package is defined now. Raises LatentDriveError for one that is gone."""
    if not target.startswith(PACKAGE):
        return target
    name = RENAMED.get(target, own_name(target))
    if name not in present_modules():
        raise LatentDriveError(f"{target} has no successor in this version")
    return present_modules()[name]


def is_present(node: Any) -> bool:
    """Whether every class in a configuration is named as it is now: nothing is left to convert."""
    if isinstance(node, list):
        return all(map(is_present, node))
    if not isinstance(node, Mapping):
        return True
    target = node.get(TARGET)
    here = not isinstance(target, str) or target in present_modules().values() or not target.startswith(PACKAGE)
    return here and all(map(is_present, node.values()))


def converted(node: Any) -> Any:
    """A configuration from before the move, or any part of one, as this version writes it."""
    if isinstance(node, list):
        return [converted(value) for value in node]
    if not isinstance(node, Mapping):
        return node
    target = node.get(TARGET)
    node = {key: converted(value) for key, value in node.items()}
    if not isinstance(target, str):
        return node
    node[TARGET] = present_name(target)
    name = own_name(node[TARGET])
    if name == "DataSet":
        return data_set(node)
    if name in SCENE_SETTINGS:
        return {key: value for key, value in node.items() if key not in ("split", "_partial_")}
    if name == "CodebookTraining":
        return codebook_training(node)
    if name == "TeacherTraining":
        return teacher_training(node)
    return with_keys(node, KEYS | ({"weights": "loss"} if name == "StudentTraining" else {}))


def with_keys(node: Any, names: Mapping[str, str]) -> Any:
    """Mappings of a node, nested ones too, with other keys in place of those in `names`."""
    if isinstance(node, list):
        return [with_keys(value, names) for value in node]
    if not isinstance(node, Mapping):
        return node
    return {names.get(key, key): with_keys(value, names) for key, value in node.items()}


def data_set(node: dict[str, Any]) -> dict[str, Any]:
    """A data set: options of reading and what the parts share stand in nodes of their own, splits in one."""
    source, scenes = node["source"], node["scenes"]
    parts = {name: node.pop(name, None) for name in ("train", "val", "probe")}
    if scenes is not None:
        default = "test" if own_name(scenes[TARGET]) == "NavsimSettings" else None
        splits = {name: (part or {}).get("split") for name, part in parts.items() if name != "probe"}
        node["split"] = splits | {"test": default}
        parts = {} if source is None else {name: None for name in parts}
    if source is None:
        return node | parts
    node["options"] = {
        TARGET: present_modules()["ClipOptions"],
        "_partial_": True,
        "images_hz": None,
        "odometry": {TARGET: present_modules()["VisualOdometry"]},
        **{name: source.pop(name) for name in OPTIONS if name in source},
    }
    times = {"train_share": 0.5, "gap_s": 0.0} if scenes is not None else {}
    node["part"] = {
        TARGET: present_modules()["Part"],
        "_partial_": True,
        "times": source.pop("part", "all"),
        **times,
        **{name: source.pop(name) for name in TIMES if name in source},
    }
    for name in GIVEN:
        source.pop(name, None)
    if own_name(source[TARGET]) == "VideoFolder":
        source["truth"] = {TARGET: present_modules()["SidecarTruth"]}
        source["drives"] = "file"
    shared = node["part"]
    for name, part in parts.items():
        node[name] = part and {
            "times": part.get("part", shared["times"]),
            **{key: value for key, value in part.items() if key != "part" and value != shared.get(key)},
        }
    shared["times"] = "all"
    return node


def codebook_training(node: dict[str, Any]) -> dict[str, Any]:
    """The loss is a node, and so are the judges, which look at the codebook after its last step."""
    node["loss"] = node.pop("weights")
    probes = {"windows": node.pop("probe_windows"), "reader_steps": node.pop("reader_steps"), "seed": node["seed"]}
    node["judges"] = {
        "held_out": {TARGET: present_modules()["HeldOutJudge"]},
        "probes": {TARGET: present_modules()["ProbeJudge"], **probes},
    }
    return node


def teacher_training(node: dict[str, Any]) -> dict[str, Any]:
    """The two weights of the loss stand in its node."""
    weights = {name: node.pop(f"{name}_weight") for name in ("autoregressive", "one_pass")}
    return node | {"loss": {TARGET: present_modules()["TeacherLoss"], **weights}}


def converted_run(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a whole run, of whatever verb."""
    evaluates = config.get("verb") == "evaluate"
    split = (config.get("split") or (config["data"].get("scenes") or {}).get("split")) if evaluates else None
    config = converted({key: value for key, value in config.items() if not (evaluates and key == "split")})
    if evaluates:
        config["data"]["split"]["test"] = split
    return config


class Converter:
    """Converts the folders below some roots. former_ids: present fingerprint → earlier ones, of all checkpoints seen.

    done: what was converted; refused: what was not, and why.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = roots
        self.former_ids: dict[str, list[str]] = {}
        self.done: list[Path] = []
        self.refused: dict[Path, str] = {}

    def run(self) -> None:
        """Checkpoints first: runs and other checkpoints name them as parents."""
        weights = (file.parent for root in self.roots for file in sorted(root.rglob(WEIGHTS)))
        folders = [folder for folder in weights if (folder / CARD).is_file() and not folder.name.endswith(DRAFT)]
        for convert in (self.convert_checkpoint, self.convert_parents):
            for folder in folders:
                if folder not in self.refused:
                    self._try(convert, folder)
        for root in self.roots:
            for file in sorted(root.rglob(CARD)):
                if not (file.parent / WEIGHTS).is_file():
                    self._try(self.convert_world, file)
            for name, convert in ((CONFIG, self.convert_config), (SETTINGS, self.convert_settings)):
                for file in sorted(root.rglob(name)):
                    if not (file.parent / CARD).is_file():
                        self._try(convert, file)

    def convert_checkpoint(self, folder: Path) -> None:
        """Configuration and fingerprint. Raises CheckpointError for a folder that was altered."""
        card, config = read_old_card(folder), from_yaml((folder / CONFIG).read_text(encoding="utf-8"))
        if card.format == FORMAT:
            self.former_ids[card.fingerprint] = list(card.former_ids.get(card.fingerprint, ()))
            self._finish_interrupted(folder, card, config)
            return
        if card.fingerprint != earlier_fingerprint(card, config):
            raise CheckpointError(f"{folder / CONFIG} was altered: it does not match the card; copy the folder again")
        config = converted(config)
        fingerprint = checkpoint.fingerprint(card.weights_sha256, card.files, config)
        former = [*card.former_ids.get(card.fingerprint, ()), card.fingerprint]
        changes = {
            "format": FORMAT,
            "kind": own_name(config[TARGET]),
            "fingerprint": fingerprint,
            "former_ids": {fingerprint: former},
        }
        # The card comes first: where this is interrupted, the new card shows that the configuration is to be written.
        write_card(folder, Card(**asdict(card) | changes))
        write_text(folder / CONFIG, to_yaml(config))
        self.former_ids[fingerprint] = former
        self.done.append(folder)

    def _finish_interrupted(self, folder: Path, card: Card, config: Mapping[str, Any]) -> None:
        if is_present(config):
            return
        config = converted(config)
        if checkpoint.fingerprint(card.weights_sha256, card.files, config) == card.fingerprint:
            write_text(folder / CONFIG, to_yaml(config))
            self.done.append(folder)

    def convert_parents(self, folder: Path) -> None:
        """Parents by their present fingerprints, and the earlier ids of this checkpoint and its parents."""
        card = checkpoint.read_card(folder)
        parents = {name: self._present_id(fingerprint) for name, fingerprint in card.parents.items()}
        ids = {card.fingerprint, *parents.values()}
        former = {key: list(value) for key, value in (dict(card.former_ids) | self.former_ids).items() if key in ids}
        if (parents, former) != (dict(card.parents), dict(card.former_ids)):
            write_card(folder, Card(**asdict(card) | {"parents": parents, "former_ids": former}))

    def convert_world(self, file: Path) -> None:
        """The card of clips that the built-in world wrote: the settings that it was made with."""
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not content.keys() >= WORLD:
            return
        changed = with_keys(content, KEYS)
        if changed != content:
            write_text(file, json.dumps(changed, indent=1) + "\n")
            self.done.append(file)

    def convert_config(self, file: Path) -> None:
        """The configuration of a run, and the fingerprint among its numbers."""
        config = from_yaml(file.read_text(encoding="utf-8"))
        if not isinstance(config, dict) or "verb" not in config or is_present(config):
            return
        numbers = file.parent / METRICS
        if numbers.is_file():  # before the configuration, which shows that the run is converted
            content = json.loads(numbers.read_text(encoding="utf-8"))
            if "fingerprint" in content:
                content["fingerprint"] = self._present_id(content["fingerprint"])
                write_text(numbers, json.dumps(content, indent=1) + "\n")
        self._write_if_changed(file, config, converted_run(config))

    def convert_settings(self, file: Path) -> None:
        """What a saved training state was trained with. Stores keep their ids, hence so do the parents."""
        settings = from_yaml(file.read_text(encoding="utf-8"))
        if is_present(settings):
            return
        changed = converted(settings)
        if changed.get("init"):
            changed["init"] = self._present_id(changed["init"])
        self._write_if_changed(file, settings, changed)

    def _write_if_changed(self, file: Path, before: Any, after: Any) -> None:
        if before != after:
            write_text(file, to_yaml(after))
            self.done.append(file)

    def _present_id(self, fingerprint: str) -> str:
        """The fingerprint that a checkpoint has now. Raises CheckpointError where two claim the earlier one."""
        present = [now for now, earlier in self.former_ids.items() if fingerprint in earlier]
        if len(present) > 1:
            raise CheckpointError(f"{' and '.join(present)} both claim to have been {fingerprint}: remove one of them")
        return present[0] if present else fingerprint

    def _try(self, convert: Any, path: Path) -> None:
        try:
            convert(path)
        except LatentDriveError as error:
            self.refused[path] = str(error)
        except OSError as error:
            self.refused[path] = f"can't be read or written ({error.strerror})"
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError, yaml.YAMLError) as error:
            self.refused[path] = f"not understood ({type(error).__name__}: {str(error).splitlines()[0][:200]})"


def earlier_fingerprint(card: Card, config: Mapping[str, Any]) -> str:
    """As versions before this one computed it: over the YAML text, module paths included."""
    content = (
        card.weights_sha256 + to_yaml(config) + (json.dumps(dict(card.files), sort_keys=True) if card.files else "")
    )
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def read_old_card(folder: Path) -> Card:
    """The card, also one that knows no former ids. Raises CheckpointError where it is none."""
    content = json.loads((folder / CARD).read_text(encoding="utf-8"))
    known = {field.name for field in fields(Card)}
    if not isinstance(content, dict) or not {"kind", "fingerprint", "weights_sha256"} <= content.keys() <= known:
        raise CheckpointError(f"{folder / CARD} is not the card of a checkpoint")
    mappings = (content.get(name, {}) for name in ("files", "parents", "data", "metrics"))
    if not all(isinstance(value, dict) for value in mappings) or not are_former_ids(content.get("former_ids", {})):
        raise CheckpointError(f"{folder / CARD}: files, parents, former_ids, data and metrics must be JSON objects")
    return Card(**content)


def write_card(folder: Path, card: Card) -> None:
    """The card, and the README that shows it."""
    card = checkpoint.sealed(card)
    write_text(folder / CARD, as_json(asdict(card), default=str))
    write_text(folder / README, checkpoint.readme(folder.name, card))


def write_text(file: Path, text: str) -> None:
    """Atomically."""
    write_atomic(file, lambda path: path.write_text(text, encoding="utf-8"))


def report(converter: Converter) -> Iterator[str]:
    """What a person reads at the end."""
    for path in converter.done:
        yield f"converted: {path}"
    yield f"{len(converter.done)} folders and files converted, {len(converter.refused)} refused"


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert what lies below the folders named; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="folders of runs or checkpoints")
    folders = parser.parse_args(arguments).folders
    if missing := [str(folder) for folder in folders if not folder.is_dir()]:
        print(f"convert_runs.py: there is no folder {', '.join(missing)}", file=sys.stderr)
        return 2
    converter = Converter(folders)
    converter.run()
    print("\n".join(report(converter)))
    for path, reason in converter.refused.items():
        print(f"refused: {path}: {reason}", file=sys.stderr)
    return 1 if converter.refused else 0


if __name__ == "__main__":
    sys.exit(main())
