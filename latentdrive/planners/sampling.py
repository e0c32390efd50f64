"""The sampling of NAVSIM's trajectories: 8 poses, 0.5 s apart, the first one 0.5 s after now."""

import numpy as np

from latentdrive.types import SensorNeeds

POSES, DT_S = 8, 0.5
TIMES_S = DT_S * np.arange(1, POSES + 1)
NO_SENSORS = SensorNeeds(cameras=(), frames="now", lidar=False)
