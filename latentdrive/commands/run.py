"""`run`: a planner at work, outside the built-in world.

    latentdrive run planner=runs/planner/checkpoint source=egodriver:50051

source=egodriver:PORT serves AlpaSim and CARLA until it is interrupted: their simulators ask for plans over gRPC.
"""

import importlib
from pathlib import Path
from types import ModuleType

from latentdrive.build import build
from latentdrive.config import Config
from latentdrive.errors import ConfigError
from latentdrive.evaluation.planning import is_privileged
from latentdrive.kinds import Count
from latentdrive.run_folder import METRICS, RunFolder

EGODRIVER = "egodriver"
MODES = ("carla", "alpasim")
HIGHEST_PORT = 65535


def run(cfg: Config) -> Path:
    """Plan for the source until it ends; returns the run's folder."""
    with RunFolder(cfg, verb=cfg.verb) as folder:
        return _serve(cfg, folder)


def _serve(cfg: Config, folder: RunFolder) -> Path:
    port, host, mode = _port(cfg.value("source", str)), cfg.host, cfg.mode
    cameras, sessions, dry_run = cfg.cameras.plain(), cfg.value("sessions", Count | None), cfg.dry_run
    if mode not in MODES:
        raise ConfigError(f"mode={mode} is unknown: choose {' or '.join(MODES)}")
    planner = build(cfg.planner)
    cfg.require_all_read()
    if is_privileged(planner):
        raise ConfigError("this planner plans from the truth of a scene, which no simulator sends: choose another")
    egodriver = _egodriver()
    driver = egodriver.PlannerDriver(planner, cameras=cameras, say=folder.say)
    if dry_run:
        folder.say(f"dry run: would serve {type(planner).__name__} at {host}:{port}")
        return folder.path
    egodriver.serve(driver, host=host, port=port, mode=mode, sessions=sessions)
    folder.metrics({"sessions": driver.sessions, "plans": driver.plans, "held": driver.held})
    folder.say(f"Done in {folder.seconds:.0f} s. Result: {folder.path / METRICS}")
    return folder.path


def _egodriver() -> ModuleType:
    """The module that speaks the contract. Raises ConfigError where the contract's package is not installed."""
    try:
        return importlib.import_module("latentdrive.integrations.egodriver")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"source={EGODRIVER}:... needs the package {error.name}: in the folder of latentdrive, "
            "pip install -e '.[drive]'"
        ) from None


def _port(source: str) -> int:
    kind, _, port = source.partition(":")
    if kind != EGODRIVER or not port.isdecimal() or int(port) > HIGHEST_PORT:
        raise ConfigError(f"source={source} is unknown: give {EGODRIVER}:PORT, such as {EGODRIVER}:50051")
    return int(port)
