"""Planners that are told the future return it in the ego frame of now."""

import numpy as np
import pytest

from latentdrive.errors import UnreadableScene
from latentdrive.geometry import compose
from latentdrive.planners.baselines.human import Human
from latentdrive.planners.baselines.pdm_closed import PdmClosed
from latentdrive.types import Planner, PrivilegedPlanner, SceneTruth, Trajectory
from tests.support.evaluation import make_scoring_scene
from tests.support.golden_files import FILES, golden

needs_golden = pytest.mark.skipif(not FILES, reason="no golden files")


@needs_golden
def test_the_human_drives_as_recorded_4_s_in_8_poses():
    truths = [golden(FILES[0]).truth(number) for number in (0, 1)]
    trajectory = Human().plan(truths)
    assert trajectory.poses.shape == (2, 8, 3) and trajectory.dt_s == 0.5
    frames = truths[1].frames
    recorded = np.stack([frame.ego_pose for frame in frames[truths[1].now + 1 :][:8]])
    driven = compose(np.broadcast_to(frames[truths[1].now].ego_pose, recorded.shape), trajectory.poses[1])
    assert driven == pytest.approx(recorded, abs=1e-9)


@needs_golden
def test_a_human_whose_recording_ends_early_names_the_scene():
    truth = golden(FILES[0]).truth(0)
    fields = {name: getattr(truth, name) for name in SceneTruth.__slots__}
    short = SceneTruth(**fields | {"human": Trajectory(poses=truth.human.poses[:5], dt_s=0.5)})
    with pytest.raises(UnreadableScene, match=r"known for 5 poses 0\.5 s apart, but 8 poses 0\.5 s apart are needed"):
        Human().plan([truth, short])


def test_pdm_closed_gives_the_reference_from_0_1_to_4_s_in_the_ego_frame():
    scene = make_scoring_scene("a")  # the ego stands at (100, 200), heading north; the reference goes north at 5 m/s
    trajectory = PdmClosed().plan([scene])
    assert trajectory.poses.shape == (1, 40, 3) and trajectory.dt_s == 0.1
    assert trajectory.poses[0, :, 0] == pytest.approx(0.5 * np.arange(1, 41), abs=1e-9)
    assert np.abs(trajectory.poses[0, :, 1:]).max() < 1e-9


def test_both_are_privileged_and_not_planners_from_sensors():
    for planner in (Human(), PdmClosed()):
        assert isinstance(planner, PrivilegedPlanner) and planner.privileged and not isinstance(planner, Planner)
