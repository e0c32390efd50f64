"""The weights of NAVSIM's own Transfuser and LTF, read from its Lightning checkpoints.

Neither NAVSIM's code nor anything inside the file is run. Besides weights, a checkpoint may hold training
settings, as objects of classes that are not installed here: listed classes become stand-ins that do
nothing, and every other class is refused by name.
"""

import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentdrive.errors import CheckpointError
from latentdrive.files import DAMAGE
from latentdrive.weight_files import require_file

PREFIX = "agent._transfuser_model."  # prefix of all weight names in NAVSIM's checkpoints

# Names of weights in NAVSIM's network and in Transfuser, up to their last part. # stands for a number.
WEIGHT_NAMES = (
    ("_backbone.image_encoder", "backbone.image.network"),
    ("_backbone.lidar_encoder", "backbone.lidar.network"),
    ("_backbone.lidar_latent", "backbone.grid"),
    ("_backbone.lidar_channel_to_img.#", "backbone.exchanges.#.lidar_in"),
    ("_backbone.img_channel_to_lidar.#", "backbone.exchanges.#.lidar_out"),
    ("_backbone.transformers.#.pos_emb", "backbone.exchanges.#.positions"),
    ("_backbone.transformers.#.ln_f", "backbone.exchanges.#.norm"),
    ("_backbone.transformers.#.blocks.#.ln1", "backbone.exchanges.#.blocks.#.norm_attention"),
    ("_backbone.transformers.#.blocks.#.ln2", "backbone.exchanges.#.blocks.#.norm_feedforward"),
    ("_backbone.transformers.#.blocks.#.attn.query", "backbone.exchanges.#.blocks.#.attention.query"),
    ("_backbone.transformers.#.blocks.#.attn.key", "backbone.exchanges.#.blocks.#.attention.key"),
    ("_backbone.transformers.#.blocks.#.attn.value", "backbone.exchanges.#.blocks.#.attention.value"),
    ("_backbone.transformers.#.blocks.#.attn.proj", "backbone.exchanges.#.blocks.#.attention.out"),
    ("_backbone.transformers.#.blocks.#.mlp", "backbone.exchanges.#.blocks.#.feedforward"),
    ("_backbone.c5_conv", "semantics.enter"),
    ("_backbone.up_conv5", "semantics.twice"),
    ("_backbone.up_conv4", "semantics.whole"),
    ("_bev_semantic_head.0", "semantics.refine"),
    ("_bev_semantic_head.2", "semantics.sort"),
    ("_bev_downscale", "bev_in"),
    ("_status_encoding", "status_in"),
    ("_keyval_embedding", "memory_positions"),
    ("_query_embedding", "queries"),
    ("_tf_decoder", "decoder"),
    ("_trajectory_head._mlp", "trajectory"),
    ("_agent_head._mlp_states", "agent_boxes"),
    ("_agent_head._mlp_label.0", "agent_logits"),
)
GRID = "_backbone.lidar_latent"  # the learned grid, which only LTF has


class StandIn:
    """Stands for an object of a class that is not installed. It does nothing and keeps no state."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class _PlainDict:
    """Stands for mappings, because torch.load only fills plain dictionaries."""

    def __new__(cls, *_: Any) -> dict:
        return {}


# NAVSIM's own training saves none of these, since its module keeps no hyperparameters. Modified copies of it may.
OBJECTS = (
    "navsim.agents.transfuser.transfuser_config.TransfuserConfig",
    "nuplan.planning.simulation.trajectory.trajectory_sampling.TrajectorySampling",
    "nuplan.common.maps.maps_datatypes.SemanticMapLayer",
    "nuplan.common.actor_state.tracked_objects_types.TrackedObjectType",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.nodes.AnyNode",
    "omegaconf.nodes.StringNode",
    "omegaconf.nodes.IntegerNode",
    "omegaconf.nodes.FloatNode",
    "omegaconf.nodes.BooleanNode",
    "typing.Any",
    "builtins.dict",
    "builtins.list",
    "builtins.int",
    "builtins.float",
    "builtins.str",
    "builtins.bool",
    "pathlib.PosixPath",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
)
MAPPINGS = (
    "collections.defaultdict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
)
ALLOWED = [(StandIn, name) for name in OBJECTS] + [(_PlainDict, name) for name in MAPPINGS]


def read_official(file: str | Path) -> dict[str, Tensor]:
    """The weights in a checkpoint of NAVSIM's Transfuser, under NAVSIM's names without their prefix.

    Raises CheckpointError for a file that is missing, damaged or no such checkpoint, and for one that asks
    for a class that is not listed.
    """
    content = _opened(Path(file))
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        holds = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(f"{file} is no Lightning checkpoint with weights under state_dict; it holds: {holds}")
    strangers = [key for key in state if not key.startswith(PREFIX)]
    if strangers:
        raise CheckpointError(
            f"{file} is no checkpoint of NAVSIM's Transfuser: {_first(strangers)} of its {len(state)} weights do "
            f"not begin with {PREFIX}"
        )
    return {key.removeprefix(PREFIX): value for key, value in state.items()}


def to_ours(state: Mapping[str, Tensor], own: Mapping[str, Tensor], *, file: str | Path) -> dict[str, Tensor]:
    """The weights of `state` under the names of our Transfuser. file: where they come from, for messages.

    own: the weights of the model that they are meant for. Raises CheckpointError, listing the differences,
    where names or shapes are not the same.
    """
    has_grid, own_kind = GRID in state, "an LTF" if our_name(GRID) in own else "a Transfuser"
    kind, has, planner = ("an LTF", "has", "ltf") if has_grid else ("a Transfuser", "lacks", "transfuser")
    if kind != own_kind:
        raise CheckpointError(
            f"{file} is {kind} checkpoint (it {has} {GRID}), but the model is {own_kind}: choose planner={planner}"
        )
    ours = {our_name(key): value for key, value in state.items()}
    if differences := _differences(ours, own):
        raise CheckpointError(
            f"{file} does not fit the model ({len(ours)} weights, the model has {len(own)}): {'; '.join(differences)}. "
            "NAVSIM's weights fit planner=transfuser and planner=ltf as configured, with no size changed"
        )
    return ours


def _differences(ours: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    missing, extra = [key for key in own if key not in ours], [key for key in ours if key not in own]
    shapes = [
        f"{key} {list(ours[key].shape)} instead of {list(own[key].shape)}"
        for key in own
        if key in ours and ours[key].shape != own[key].shape
    ]
    differences = [f"it lacks {_first(missing)}"] if missing else []
    differences += [f"it has {_first(extra)} that the model lacks"] if extra else []
    return differences + ([f"shapes differ: {_first(shapes)}"] if shapes else [])


def our_name(key: str) -> str:
    """The name in Transfuser of a weight of NAVSIM's network; the same name where WEIGHT_NAMES has none."""
    for pattern, name in _RULES:
        if match := pattern.match(key):
            return name.format(*match.groups()) + key[match.end() :]
    return key


def _opened(file: Path) -> Any:
    if not file.is_file():
        raise CheckpointError(f"{file} does not exist: name NAVSIM's checkpoint (.ckpt)")
    require_file(file, again="download it again")
    try:
        with torch.serialization.safe_globals(ALLOWED):
            return torch.load(file, map_location="cpu", weights_only=True)
    except (*DAMAGE, pickle.UnpicklingError) as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked is None:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(f"{file} can't be read as a checkpoint, download it again: {reason}") from None
        raise CheckpointError(
            f"{file} asks for {asked[1]}, which no weights need; it was refused, and nothing in the file was run. "
            "If you trust its maker, save its weights alone where it was made: "
            'torch.save({"state_dict": checkpoint["state_dict"]}, FILE)'
        ) from None


def _rules() -> list[tuple[re.Pattern[str], str]]:
    return [
        (re.compile(re.escape(official).replace(r"\#", r"(\d+)") + r"(?=\.|$)"), ours.replace("#", "{}"))
        for official, ours in WEIGHT_NAMES
    ]


def _first(names: Iterable[str]) -> str:
    """The first three names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


_RULES = _rules()
