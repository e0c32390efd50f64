"""What a planner is shown during a drive: the Scene that a NAVSIM log of this drive would give.

The frames, pictures and point clouds are made and read back by the same code as those of the written
data set. A privileged planner gets a truth whose future is not recorded: every object keeps its
present velocity, every light its present colour.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from latentdrive.data.navsim.frames import log_frame
from latentdrive.data.navsim.log import NavsimLog, log_of
from latentdrive.data.navsim.scenes import Cut, Sensors, logged_frame, open_scene
from latentdrive.geometry import relative_pose
from latentdrive.types import LoggedFrame, RoadMap, Scene, SceneTruth, SensorNeeds, Trajectory
from latentdrive.world.navsim.data_set import NavsimWorld
from latentdrive.world.navsim.drive_writer import Stage, write_cloud, write_picture
from latentdrive.world.navsim.live_drive import LiveDrive
from latentdrive.world.navsim.log_frames import log_frames
from latentdrive.world.navsim.orders import Order
from latentdrive.world.rendering.cameras import Renderer
from latentdrive.world.roads.road_map import placed

FUTURE_FRAMES = 10  # frames of a truth after now, as in NAVSIM's logs


class Views:
    """Makes the views of one live drive. blobs: an empty folder for its pictures. renderer: None if nothing is seen."""

    def __init__(
        self,
        world: NavsimWorld,
        order: Order,
        live: LiveDrive,
        needs: SensorNeeds,
        blobs: Path,
        renderer: Renderer | None,
    ) -> None:
        self._world, self._order, self._live, self._blobs = world, order, live, blobs
        self._sensors = Sensors(cameras=needs.cameras, frames=needs.frames, lidar=needs.lidar, at_least=None)
        self.map: RoadMap = placed(live.recorded.map, order.place.pose)
        self.every = round(world.rate_hz / world.log_hz)
        self._stage: Stage | None = None
        if renderer is not None:
            rng = np.random.default_rng((*live.drive.seed, 1))
            self._stage = Stage(rng, live.staged_on(), renderer, world.density, world.city.shoulder_m)

    def scene(self) -> Scene:
        """What the car sees at the present row."""
        row, history = self._live.row, self._world.points.history_frames
        rows = row - self.every * np.arange(history)[::-1]
        log, frames = self._log(rows)
        for number in range(history) if self._sensors.frames == "all" else [history - 1]:
            self._write_pictures(frames[number], int(rows[number]))
        if self._sensors.lidar:
            write_cloud(
                self._blobs / frames[-1]["lidar_path"], self._stage, self._live.drive, row, sensors=self._world.sensors
            )
        token = log.tokens[history - 1].decode()
        cut = Cut(log=log, token=token, drive=self._order.name, first=0, now=history - 1, end=history)
        return replace(open_scene(cut, self._blobs, self._sensors), time_s=row / self._world.rate_hz)

    def truth_of_now(self) -> SceneTruth:
        """The present, continued by constant velocity."""
        rows = self._live.row - self.every * np.arange(self._world.points.history_frames)[::-1]
        return self._truth(rows, now=len(rows) - 1)

    def truth_at(self, row: int) -> SceneTruth:
        """What happened around a row, as far as the drive has come; from there on continued by constant velocity."""
        history = self._world.points.history_frames
        rows = row + self.every * np.arange(1 - history, FUTURE_FRAMES + 1)
        return self._truth(rows[rows <= self._live.row], now=history - 1)

    def _truth(self, rows: np.ndarray, *, now: int) -> SceneTruth:
        log, _ = self._log(rows)
        frames = [logged_frame(log, number) for number in range(len(rows))]
        step_s = 1 / self._world.log_hz
        while len(frames) < now + 1 + FUTURE_FRAMES:
            frames.append(_continued(frames[-1], step_s, f"{frames[now].token}+{len(frames)}"))
        here, future = frames[now].ego_pose, np.stack([frame.ego_pose for frame in frames[now + 1 :]])
        return SceneTruth(
            token=frames[now].token,
            drive=self._order.name,
            frames=tuple(frames),
            now=now,
            route=log.route(now),
            map=self.map,
            human=Trajectory(poses=relative_pose(np.broadcast_to(here, future.shape), future), dt_s=step_s),
            synthetic=False,
        )

    def _log(self, rows: np.ndarray) -> tuple[NavsimLog, list[dict]]:
        world, order = self._world, self._order
        frames = log_frames(
            self._live.so_far(), order.place, world.sensors.cameras, rows=rows.astype(np.int64), rate_hz=world.rate_hz
        )
        return log_of(log_frame(frame) for frame in frames), frames

    def _write_pictures(self, frame: dict, row: int) -> None:
        for camera in self._sensors.cameras:
            path = self._blobs / frame["cams"][camera.upper()]["data_path"]
            if not path.is_file():
                write_picture(path, self._stage, camera.upper(), self._live.drive, row, sensors=self._world.sensors)


def _continued(frame: LoggedFrame, step_s: float, token: str) -> LoggedFrame:
    """The next frame if everybody keeps the present velocity."""
    x, y, heading = frame.ego_pose
    ahead = float(frame.velocity[0]) * step_s
    moved = np.concatenate([frame.objects.velocity * step_s, np.zeros((len(frame.objects), 1))], 1)
    return replace(
        frame,
        token=token,
        timestamp_us=frame.timestamp_us + round(step_s * 1e6),
        ego_pose=np.array([x + ahead * np.cos(heading), y + ahead * np.sin(heading), heading]),
        objects=replace(frame.objects, poses=frame.objects.poses + moved),
    )
