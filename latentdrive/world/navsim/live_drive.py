"""A drive of the NAVSIM world that is still going on: somebody else moves the ego, and the traffic reacts.

The drive begins as its recording does, with the same road, traffic and hazard. From the moment of the
hand-over on, each `advance` takes the ego's next state and moves everybody else. What the recording
leaves out because it touches something is taken off the road at the hand-over. Walkers on the
pavement keep their tracks. A road user staged by a hazard follows its track up to the hazard's
begin and waits there until the ego has come near.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from latentdrive.world.navsim.city_drive import BegunDrive, CityDrive
from latentdrive.world.roads.layouts import mirrored
from latentdrive.world.traffic.drivers import Driver

SAME_M = 1e-6  # a driver at frame 0 and its recorded pose are closer than this


class LiveDrive:
    """A drive up to `row`, the present. recorded: the drive with the built-in driver. begun: the same before frame 0.

    hand_over: the first row at which the ego is moved from outside.
    """

    def __init__(self, recorded: CityDrive, begun: BegunDrive, *, hand_over: int) -> None:
        self.recorded, self.row = recorded, hand_over
        self._traffic, self._line, self._hazard = begun.traffic, begun.ground.layout.line, begun.hazard
        drive = recorded.drive
        self._poses = drive.agents.poses.copy()
        self._poses[hand_over + 1 :] = np.nan
        agents = replace(drive.agents, poses=self._poses)
        self.drive = replace(drive, ego=drive.ego.copy(), ego_speed_mps=drive.ego_speed_mps.copy(), agents=agents)
        while self._traffic.frame < 0:
            self._traffic.advance()
        self._drivers = self._recorded_drivers()
        while self._traffic.frame < hand_over:
            self._traffic.advance()
        kept = {id(driver) for driver in self._drivers.values()} | {id(self._traffic.ego)}
        self._traffic.road.vehicles = [vehicle for vehicle in self._traffic.road.vehicles if id(vehicle) in kept]
        staged = self._staged(hand_over) is not None
        self._tracked = [row for row in range(len(agents)) if row not in self._drivers and (row or not staged)]

    def __len__(self) -> int:
        """Number of rows that the drive has at most."""
        return len(self.drive.ego)

    def so_far(self) -> CityDrive:
        """The drive up to the present row, as its recording would have it; nothing of it lies in the future."""
        drive, end = self.drive, self.row + 1
        agents = replace(drive.agents, poses=drive.agents.poses[:end], speed_mps=drive.agents.speed_mps[:end])
        ego, speed = drive.ego[:end], drive.ego_speed_mps[:end]
        seen = replace(drive, times_s=drive.times_s[:end], ego=ego, ego_speed_mps=speed, agents=agents)
        return replace(self.recorded, drive=seen)

    def staged_on(self) -> CityDrive:
        """The drive for the stage of a renderer: its arrays grow with the drive."""
        return replace(self.recorded, drive=self.drive)

    def advance(self, pose: Float64[np.ndarray, "3"], speed_mps: float) -> None:
        """Move to the next row. pose, speed_mps: of the ego's rear axle there, in the plane of the drive."""
        self._traffic.advance(self._in_layout(pose, speed_mps))
        self.row += 1
        self.drive.ego[self.row], self.drive.ego_speed_mps[self.row] = pose, speed_mps
        now = self._poses[self.row]
        now[self._tracked] = self.recorded.drive.agents.poses[self.row, self._tracked]
        for row, driver in self._drivers.items():
            now[row] = self._in_plane(_layout_pose(driver))
        if (staged := self._staged(self.row)) is not None:
            now[0] = staged

    def _recorded_drivers(self) -> dict[int, Driver]:
        """The drivers that the recording has, by their index among its agents. The road must show frame 0."""
        first, drivers = self.recorded.drive.agents.poses[0], {}
        for driver in self._traffic.others():
            near = np.hypot(*(first[:, :2] - self._in_plane(_layout_pose(driver))[:2]).T) < SAME_M
            if near.any():
                drivers[int(np.flatnonzero(near)[0])] = driver
        return drivers

    def _staged(self, row: int) -> Float64[np.ndarray, "3"] | None:
        """The present pose of the hazard's road user that is no driver; None if the hazard stages none.

        It follows its recorded time to the begin of the hazard. A pedestrian begins when the ego is near; an oncoming
        car that is not yet there arrives at its recorded time all the same.
        """
        if self._hazard is None or self.recorded.hazard_s is None:
            return None
        now_s, expected_s = float(self.drive.times_s[row]), self.recorded.hazard_s[0]
        began_s = expected_s if self._hazard.span_s is None else self._hazard.span_s[0]
        if self._hazard.span_s is None:
            now_s = min(now_s, expected_s)
        elif not self._hazard.waits_beside:
            began_s = max(began_s, expected_s)
        agents = self._hazard.agents_if_begun(np.array([now_s]), began_s)
        return None if agents is None else self._in_plane(agents.poses[0, 0])

    def _in_plane(self, pose: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3"]:
        return pose if self._line is None else self._line.place(pose[None])[0]

    def _in_layout(self, pose: Float64[np.ndarray, "3"], speed_mps: float) -> Float64[np.ndarray, "4"]:
        """x, y, heading and speed in the coordinates of the layout."""
        if self._line is None:
            return np.array([*pose, speed_mps])
        road = self._line.locate(pose)
        metres = np.hypot(self._line.stretch(road[:1], road[1:2]) * np.cos(road[2]), np.sin(road[2]))
        return np.concatenate([road, speed_mps / metres])


def _layout_pose(driver: Driver) -> Float64[np.ndarray, "3"]:
    return mirrored(np.array([*driver.position, driver.heading]))
