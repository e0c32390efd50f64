"""The key of a prepared scene: it changes with everything that the preparation reads, and with nothing else."""

from dataclasses import replace

import numpy as np

from latentdrive.pdms.storage.scene_key import scene_key
from latentdrive.pdms.versions import V1, V2
from tests.support.recorded_traffic import objects
from tests.support.scoring_store import ROAD, TOWN, Drives


def test_the_key_holds_all_that_is_read_and_nothing_else():
    scene = Drives().truth("a@0")
    key = scene_key(scene, V1, 1)
    assert key == scene_key(Drives().truth("a@0"), V1, 1)
    first, last = scene.frames[0], scene.frames[-1]
    unread = replace(scene, frames=(replace(first, ego_pose=np.ones(3)), *scene.frames[1:]))
    assert scene_key(unread, V1, 1) == key  # v1 reads no past
    assert scene_key(unread, V2, 1) != scene_key(scene, V2, 1)
    ended = replace(scene, frames=(*scene.frames[:-1], replace(last, objects=objects())))
    assert scene_key(ended, V1, 1) != key and scene_key(ended, V2, 1) == scene_key(scene, V2, 1)  # v2 reads 4 s
    wider = replace(TOWN, roadblocks=(replace(ROAD, rings=(ROAD.rings[0] * 2,)),))
    others = [replace(scene, map=wider), replace(scene, route=("R",)), replace(scene, token="x")]
    assert len({key, *(scene_key(one, V1, 1) for one in others), scene_key(scene, V1, 2), scene_key(scene, V2, 1)}) == 6
    zebra = replace(TOWN, crosswalks=(ROAD,))
    assert scene_key(replace(scene, map=zebra), V1, 1) == key
