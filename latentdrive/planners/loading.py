"""A trained planner from its checkpoint folder, together with the source of the embeddings it fuses."""

from latentdrive import checkpoint
from latentdrive.devices import choose_device
from latentdrive.errors import ConfigError
from latentdrive.planners.latents.fusion import LatentSource
from latentdrive.planners.latents.live import LivePredictor
from latentdrive.planners.latents.stored import StoredLatents
from latentdrive.planners.learned import LearnedPlanner


def load_planner(
    *, folder: str, latents: str | None, predictor: str | None, oracle_future: bool, device: str
) -> LearnedPlanner:
    """The planner of a checkpoint folder, ready to plan.

    A planner that reads embeddings takes them from `latents`, a folder of stores that a teacher or student
    wrote, or from `predictor`, the checkpoint of a student that runs live. oracle_future: see
    StoredLatents. device: cpu, cuda, or auto. Raises CheckpointError where the folder holds no planner,
    ConfigError for a planner that reads embeddings and has none, and for a device that is not there.
    """
    device = choose_device(device)
    planner, card = checkpoint.load(folder, expect=LearnedPlanner)
    if card.data.get("oracle_future") and not oracle_future:
        raise ConfigError(f"{folder} was trained on codes of the future, so it plans only with oracle_future=true")
    source = open_latents(latents=latents, predictor=predictor, oracle_future=oracle_future, device=device)
    if planner.reads is not None and source is None:
        raise ConfigError(
            f"{folder}: this planner reads a predictor's embeddings: give planner.latents=FOLDER (stores of a "
            "teacher or student) or planner.predictor=CHECKPOINT (a student that runs live; in the devkit, "
            "`predictor` in the agent's YAML)"
        )
    planner.attach(source)
    planner.learned_with, planner.learned_permuted = card.parents.get("labeller", ""), card.data.get("permuted")
    return planner.to(device)


def open_latents(
    *, latents: str | None, predictor: str | None, oracle_future: bool, device: str
) -> LatentSource | None:
    """The source of embeddings that was named, or None.

    Raises ConfigError where both were named, or oracle_future without a store.
    """
    if latents is not None and predictor is not None:
        raise ConfigError(f"latents={latents} and predictor={predictor}: a planner takes embeddings from one of them")
    if oracle_future and latents is None:
        raise ConfigError("oracle_future=true reads codes of the future from a store: name it with latents=FOLDER")
    if latents is not None:
        return StoredLatents(latents, oracle_future=oracle_future)
    return None if predictor is None else LivePredictor(predictor, device=device)
