"""Pickles for the devkit: opened by plain pickle, spelled for old numpy, and the same bytes for the same content."""

import copy
import pickle
import pickletools
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from latentdrive.data.pickles.names import StandIn
from latentdrive.data.pickles.reading import loads, read_pickle
from latentdrive.data.pickles.writing import dumps, write_pickle
from latentdrive.errors import RefusedPickle
from tests.support.paths import ROOT
from tests.support.pickled import assert_same

LOG = [
    {
        "token": "0123456789abcdef",
        "timestamp": 1_600_000_000_500_000 + frame,
        "lights": [(12, True), (13, False)],
        "lidar_path": None,
        "state": [1.0, -0.5],
        "raw": b"\x00\xff",
        "command": np.array([0, 1, 0, 0]),
        "pose": np.arange(6.0).reshape(2, 3),
        "names": np.array(["vehicle", "pedestrian"]),
        "known": np.array([True, False]),
        "nothing": np.zeros((0, 7), np.float32),
        "columns": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
    }
    for frame in range(3)
]


def test_python_and_latentdrive_read_back_what_was_written(tmp_path: Path):
    write_pickle(tmp_path / "deep" / "log.pkl", LOG)
    assert_same(read_pickle(tmp_path / "deep" / "log.pkl"), LOG, layout=True)
    with open(tmp_path / "deep" / "log.pkl", "rb") as file:
        assert_same(pickle.load(file), LOG, layout=True)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["log.pkl"]


def test_only_protocol_4_and_names_of_numpy_1_are_used():
    data = dumps(LOG)
    opcodes = list(pickletools.genops(data))
    assert data[:2] == b"\x80\x04" and max(opcode.proto for opcode, _, _ in opcodes) == 4
    assert b"_core" not in data
    texts = [argument for _, argument, _ in opcodes if isinstance(argument, str)]
    assert {text for text in texts if "numpy" in text} == {"numpy.core.multiarray", "numpy"}


def test_the_bytes_depend_on_content_and_not_on_object_identity():
    data = dumps(LOG)
    assert dumps(copy.deepcopy(LOG)) == data
    assert dumps(loads(data, "log")) == data
    assert dumps(loads(pickle.dumps(LOG), "log")) == data


def test_sets_are_written_in_the_same_order_in_every_run():
    code = (
        "from latentdrive.data.pickles.writing import dumps; "
        "print(dumps({'a', 'b', 'cc', 'ddd', 1, 2.5, None, (1, 'x')}), dumps(frozenset('xyz')))"
    )
    written = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert written[0] == written[1]
    assert loads(dumps({"a", 1, None}), "x") == pickle.loads(dumps({"a", 1, None})) == {"a", 1, None}


def test_an_array_of_the_other_byte_order_keeps_its_values():
    written = dumps(np.arange(3, dtype=">f8"))
    assert loads(written, "x").dtype == pickle.loads(written).dtype == np.float64
    assert loads(written, "x").tolist() == pickle.loads(written).tolist() == [0, 1, 2]


def test_one_array_in_two_places_is_written_once_and_equal_arrays_stay_apart():
    array = np.arange(1000.0)
    twice = loads(dumps([array, array]), "x")
    assert twice[0] is twice[1] and len(dumps([array, array])) < 1.1 * len(dumps([array]))
    apart = pickle.loads(dumps([array, array.copy()]))
    apart[0][:] = -1
    assert apart[1].tolist() == array.tolist()


def test_unpaired_surrogates_are_written():
    assert loads(dumps(["\ud800"]), "x") == ["\ud800"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"speed": np.float64(3.0)}, r"numpy\.float64 can't be written.*\.item\(\)"),
        ([np.bool_(True)], r"numpy\.bool.* can't be written.*\.item\(\)"),
        (defaultdict(int), "defaultdict can't be written"),
        (np.array([None]), "dtype object can't be written"),
        (np.zeros(2, [("a", "f4")]), "can't be written"),
        (np.ma.zeros(2), "MaskedArray can't be written"),
        (print, "can't be written"),
        (Path, "can't be written"),
        (Path("x"), "can't be written"),
        (StandIn(module="os", kind="system", args=("true",), called=True), r"os\.system can't be written"),
    ],
)
def test_values_that_the_reader_would_refuse_are_not_written(value: object, reason: str):
    with pytest.raises(RefusedPickle, match=reason):
        dumps(value)


def test_a_value_nested_too_deep_is_refused_by_name():
    value: list = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(RefusedPickle, match="nested too deep"):
        dumps(value)


def test_stand_ins_are_written_under_the_names_of_their_classes():
    sampling = StandIn(
        module="nuplan.planning.simulation.trajectory.trajectory_sampling",
        kind="TrajectorySampling",
        attributes={"num_poses": 8, "time_horizon": 4.0, "interval_length": 0.5},
    )
    poses = np.zeros((8, 3), np.float32)
    plan = StandIn(
        module="navsim.common.dataclasses",
        kind="Trajectory",
        attributes={"poses": poses, "trajectory_sampling": sampling},
    )
    data = dumps({"token": plan})
    texts = [argument for _, argument, _ in pickletools.genops(data) if isinstance(argument, str)]
    at = texts.index("navsim.common.dataclasses")
    assert texts[at + 1] == "Trajectory" and sampling.module in texts
    back = loads(data, "submission.pkl")["token"]
    assert (back.module, back.kind, back.called) == (plan.module, "Trajectory", False)
    assert back.attributes["trajectory_sampling"].attributes["interval_length"] == 0.5
    assert back.attributes["poses"].shape == (8, 3)
    assert dumps({"token": back}) == data


def test_forty_frames_of_sixty_small_arrays_are_written_quickly():
    code = (
        "import time, numpy as np; from latentdrive.data.pickles.writing import dumps\n"
        "frames = [{f'array{i}': np.full(5, i / 7) for i in range(60)} for _ in range(40)]\n"
        "start = time.process_time(); dumps(frames); print(time.process_time() - start)"
    )  # in a process of its own, as annotations are checked in this one
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert float(run.stdout) < 0.3  # 0.04 on an idle machine
