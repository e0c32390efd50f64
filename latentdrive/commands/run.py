"""`run`: a planner or a bundle at work, outside the built-in world.

    latentdrive run bundle=runs/export/bundle source=drive.mp4
    latentdrive run planner=runs/planner/checkpoint source=egodriver:50051

A video, a folder of images or a camera is played through the bundle's runtime in real time; the annotated video
shows plan, latency and status. source=egodriver:PORT serves AlpaSim and CARLA until it is interrupted: their
simulators ask for plans over gRPC.
"""

from pathlib import Path

from latentdrive.commands.playing import play_video
from latentdrive.commands.serving import EGODRIVER, port_of, serve_simulators
from latentdrive.config import Config
from latentdrive.run_folder import RunFolder


def run(cfg: Config) -> Path:
    """Plan for the source until it ends; returns the run's folder."""
    with RunFolder(cfg, verb=cfg.verb) as folder:
        source = cfg.value("source", str)
        if source.split(":")[0] == EGODRIVER:
            return serve_simulators(cfg, folder, port_of(source))
        return play_video(cfg, folder, source)
