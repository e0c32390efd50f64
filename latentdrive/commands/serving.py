"""`run source=egodriver:PORT`: a planner or a bundle behind the gRPC contract of AlpaSim and CARLA."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from latentdrive.build import build
from latentdrive.config import Config
from latentdrive.errors import ConfigError
from latentdrive.evaluation.planning import is_privileged
from latentdrive.export.bundle_planner import BundlePlanner
from latentdrive.kinds import Count
from latentdrive.run_folder import METRICS, RunFolder

EGODRIVER = "egodriver"
MODES = ("carla", "alpasim")
HIGHEST_PORT = 65535
# Keys of configs/run.yaml that serving does not use.
OF_PLAYING = ("fit", "images_hz", "speed_mps", "command", "others", "realtime", "plan_hz", "deadline_s", "crf")


def serve_simulators(cfg: Config, folder: RunFolder, port: int) -> Path:
    host, mode, dry_run = cfg.host, cfg.mode, cfg.dry_run
    cameras, sessions = cfg.cameras.plain(), cfg.value("sessions", Count | None)
    if mode not in MODES:
        raise ConfigError(f"mode={mode} is unknown: choose {' or '.join(MODES)}")
    planner = _planner(cfg)
    cfg.mark_read([*OF_PLAYING, "provider", "threads"])
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


def _planner(cfg: Config) -> Any:
    if cfg.bundle is None:
        return build(cfg.planner)
    cfg.mark_read(["planner"])
    return BundlePlanner(path=cfg.bundle, provider=cfg.provider, threads=cfg.value("threads", int), trust=False)


def _egodriver() -> ModuleType:
    """The module that speaks the contract. Raises ConfigError where the contract's package is not installed."""
    try:
        return importlib.import_module("latentdrive.integrations.egodriver")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"source={EGODRIVER}:... needs the package {error.name}: in the folder of latentdrive, "
            "pip install -e '.[drive]'"
        ) from None


def port_of(source: str) -> int:
    """The port that `source=egodriver:PORT` names."""
    _, _, port = source.partition(":")
    if not port.isdecimal() or int(port) > HIGHEST_PORT:
        raise ConfigError(f"source={source} is unknown: give {EGODRIVER}:PORT, such as {EGODRIVER}:50051")
    return int(port)
