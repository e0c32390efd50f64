"""The latent store: what is written is read, interruptions lose nothing, damage and mixtures are refused."""

import errno
import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from latentdrive.data.latent_store import LatentStore, LatentWriter
from latentdrive.data.latent_tensors import stack_latents
from latentdrive.errors import DiskFull, MixedCodebooks, StoreError
from latentdrive.types import Origin
from tests.support.latent import make_info, make_latents, make_windows, read_index


@pytest.fixture
def store(tmp_path):
    """A finished store of two shards: clips 0 and 1, then clip 3; clip 2 could not be read."""
    writer = LatentWriter(tmp_path / "store", make_info())
    writer.add(make_windows([0, 1], seed=0), next_clip=2, unreadable=[])
    writer.add(make_windows([3], seed=1), next_clip=4, unreadable=[("clips/clip2", "it is cut short")])
    writer.finish()
    return tmp_path / "store"


def same(a, b) -> bool:
    pairs = [(a.codes, b.codes), (a.environment, b.environment), (a.logits, b.logits)]
    pairs += [(a.features.visual, b.features.visual), (a.features.action, b.features.action)]
    return all(torch.equal(x, y) and x.dtype == y.dtype for x, y in pairs)


def test_windows_come_back_bit_for_bit(store):
    read = LatentStore(store)
    assert len(read) == 9
    assert same(read.batch(range(6)), make_latents(6, seed=0)) and same(read.batch([6, 7, 8]), make_latents(3, seed=1))
    assert same(read.batch([8, 0]), stack_latents([read.batch([8]), read.batch([0])]))
    window = read[7]
    assert window.codes.shape == (12,) and torch.equal(window.codes, make_latents(3, seed=1).codes[1])
    assert window.origin is Origin.TEACHER and window.codebook_id == "book-a"
    assert len(list(read)) == 9


def test_features_of_a_middle_layer_come_back_and_stores_without_stay_as_they_were(store, tmp_path):
    windows, plain = make_windows([0], seed=2), LatentStore(store)
    middle = make_latents(3, seed=5).features
    latents = replace(windows.latents, features=replace(windows.latents.features, middle=middle))
    writer = LatentWriter(tmp_path / "deep", make_info())
    writer.add(replace(windows, latents=latents), next_clip=1, unreadable=[])
    writer.finish()
    deep = LatentStore(tmp_path / "deep")
    back = deep.batch([0, 2]).features
    assert torch.equal(back.middle.visual, middle.visual[[0, 2]])
    assert torch.equal(back.middle.action, middle.action[[0, 2]]) and back.middle.middle is None
    assert torch.equal(back.visual, latents.features.visual[[0, 2]])
    joined = stack_latents([deep.batch([2]), deep.batch([0])]).features.middle
    assert torch.equal(joined.visual, middle.visual[[2, 0]])
    assert plain.batch([0]).features.middle is None and deep.fingerprint == plain.fingerprint
    assert set(load_file(store / "shard-00000.safetensors")) == {
        "codes", "environment", "logits", "visual", "action", "clip", "t0_s", "known",
    }  # fmt: skip


def test_windows_are_found_by_clip_and_time(store):
    read = LatentStore(store)
    assert read.find("clip1", 0.5) == 4 and read.find("clip3", 1.0 + 1e-9) == 8
    assert read.find("clip1", 0.51) is None and read.find("clip2", 0.0) is None
    assert read.drives == ["drive0"] * 6 + ["drive1"] * 3
    assert read.unreadable == [("clips/clip2", "it is cut short")] and read.known.all()


def test_an_interrupted_store_goes_on_after_its_last_shard_and_ends_the_same(store, tmp_path):
    folder = tmp_path / "again"
    LatentWriter(folder, make_info()).add(make_windows([0, 1], seed=0), next_clip=2, unreadable=[])
    (folder / "shard-00001.safetensors").write_bytes(b"half a shard that no index names")
    with pytest.raises(StoreError, match=r"not finished \(6 windows so far\): label again"):
        LatentStore(folder)
    resumed = LatentWriter(folder, make_info())
    assert (resumed.next_clip, resumed.windows, resumed.complete) == (2, 6, False)
    resumed.add(make_windows([3], seed=1), next_clip=4, unreadable=[("clips/clip2", "it is cut short")])
    resumed.finish()
    assert read_index(folder) == read_index(store)
    assert same(LatentStore(folder).batch(range(9)), LatentStore(store).batch(range(9)))


def test_a_missing_and_an_altered_shard_are_named(store):
    shard = store / "shard-00001.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(StoreError, match=r"shard-00001.safetensors was altered"):
        LatentStore(store)
    shard.unlink()
    with pytest.raises(StoreError, match=r"lacks shard-00001.safetensors"):
        LatentStore(store)


def write_index(folder, index: dict) -> None:
    (folder / "index.json").write_text(json.dumps(index, indent=1))


def test_every_field_of_the_index_is_covered_by_its_checksum(store):
    index = read_index(store)
    for name, value in index.items():
        changed = {bool: lambda v: not v, int: lambda v: v + 1, float: lambda v: v * 2, str: lambda v: v[:-1] + "x"}
        change = changed.get(type(value), lambda v: (v | {"z": 1}) if isinstance(v, dict) else [*v, *v, "x"])
        write_index(store, index | {name: change(value)})
        with pytest.raises(StoreError):
            LatentStore(store)
        if name != "checksum":
            write_index(store, {key: kept for key, kept in index.items() if key != name})
            with pytest.raises(StoreError):
                LatentStore(store)
    write_index(store, index)
    assert len(LatentStore(store)) == 9


@pytest.mark.parametrize("read", [LatentStore, lambda folder: LatentWriter(folder, make_info())])
@pytest.mark.parametrize("with_checksum", [True, False])
def test_codes_of_the_future_can_not_be_passed_off_as_a_students(tmp_path, with_checksum, read):
    writer = LatentWriter(tmp_path, make_info(origin=Origin.INVERSE_DYNAMICS))
    writer.add(make_windows([0], origin=Origin.INVERSE_DYNAMICS), next_clip=1, unreadable=[])
    writer.finish()
    index = read_index(tmp_path) | {"origin": "student"}
    write_index(tmp_path, {key: value for key, value in index.items() if with_checksum or key != "checksum"})
    with pytest.raises(StoreError, match=r"index.json was altered"):
        read(tmp_path)


def test_the_first_stores_have_no_checksum_and_note_no_files(store):
    index = read_index(store)
    write_index(store, {key: value for key, value in index.items() if key not in ("checksum", "former_ids")})
    assert len(LatentStore(store)) == 9 and LatentStore(store).contents == {}


def test_no_flipped_bit_of_an_index_passes_unnoticed(store):
    path = store / "index.json"
    content, read = path.read_bytes(), LatentStore(store)
    places = np.random.default_rng(0).choice(8 * len(content), 300, replace=False).tolist()
    for place in places:
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(StoreError):
            LatentStore(store)
    path.write_bytes(content)
    assert same(LatentStore(store).batch(range(9)), read.batch(range(9)))


@pytest.mark.parametrize(
    "hostile",
    [
        {"shards": "shard"},
        {"shards": [{"file": "../../other/shard-00000.safetensors", "sha256": "0", "windows": 9}]},
        {"shards": [{"file": "shard-00000.safetensors", "sha256": "0", "windows": True}], "windows": 1},
        {"windows": "9"},
        {"windows": 8},
        {"unreadable": [["a"]]},
        {"origin": "oracle"},
        {"origin": ["student"]},
        {"known": [1]},
        {"settings": []},
        {"codes": 4.5},
        {"extra": 1},
    ],
    ids=str,
)
def test_an_index_whose_fields_are_of_other_kinds_is_refused(store, hostile):
    index = {key: value for key, value in read_index(store).items() if key != "checksum"}  # anybody can leave it out
    write_index(store, index | hostile)
    with pytest.raises(StoreError, match=r"index.json"):
        LatentStore(store)


@pytest.mark.parametrize(
    ("text", "said"),
    [("[" * 100_000, "nested too deeply"), ('{"format": 1' + "0" * 10_000 + "}", "JSON"), ("[1]", "is no index")],
    ids=["nested", "number", "list"],
)
def test_an_index_that_is_no_plain_json_is_refused(store, text, said):
    (store / "index.json").write_text(text)
    with pytest.raises(StoreError, match=said):
        LatentStore(store)


@pytest.mark.parametrize(
    "clips",
    ["[" * 100_000, '[["clip0"], [1]]', '["clip0"]', "{}", '[["clip0"], ["drive0"], {"clip0": [["a"]]}]'],
    ids=["nested", "drives", "keys", "mapping", "contents"],
)
def test_a_shard_whose_clips_are_of_other_kinds_is_refused(store, clips):
    """A maker of a shard can make its sha256 match."""
    path = store / "shard-00001.safetensors"
    path.write_bytes(save(load_file(path), metadata={"clips": clips}))
    require_altered_shard_refused(store, path)


@pytest.mark.parametrize("change", ["clip", "t0_s", "fewer", "codes", "slots", "none"])
def test_a_shard_whose_tensors_do_not_fit_is_refused(store, change):
    path = store / "shard-00001.safetensors"
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    changed = {
        "clip": {"clip": tensors["clip"] + 1},
        "t0_s": {"t0_s": tensors["t0_s"] * np.nan},
        "fewer": {"known": tensors["known"][1:]},
        "codes": {"codes": tensors["codes"] + 16},
        "slots": {"codes": tensors["codes"][:, 1:].contiguous()},
        "none": {name: tensor[:0] for name, tensor in tensors.items()},
    }[change]
    path.write_bytes(save(tensors | changed, metadata=about))
    require_altered_shard_refused(store, path)


def require_altered_shard_refused(store, path) -> None:
    index = {key: value for key, value in read_index(store).items() if key != "checksum"}
    index["shards"][1]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_index(store, index)
    with pytest.raises(StoreError, match="label again"):
        LatentStore(store)


def test_a_folder_that_is_no_store_says_what_is_below_it(store, tmp_path):
    with pytest.raises(StoreError, match=r"no index.json; stores below it: store"):
        LatentStore(tmp_path)
    with pytest.raises(StoreError, match=r"make one with: latentdrive label"):
        LatentStore(tmp_path / "nowhere")


def test_another_stores_folder_is_not_written_into(store):
    with pytest.raises(StoreError, match=r"holds another store .*give another folder with store=FOLDER"):
        LatentWriter(store, make_info(maker="another"))


def test_everything_that_decides_the_content_decides_the_address():
    base = make_info()
    changes = {
        "origin": Origin.STUDENT,
        "codebook_id": "b",
        "maker": "m",
        "data": "d",
        "transition_s": 0.25,
        "transitions": 12,
        "codes_per_transition": 1,
        "codes": 8,
        "settings": {"stride_s": 1.0},
        "known": ("velocity",),
    }
    assert make_info().fingerprint == base.fingerprint
    assert len({make_info(**{key: value}).fingerprint for key, value in changes.items()} | {base.fingerprint}) == 11


def test_codes_of_two_codebooks_never_meet(tmp_path):
    with pytest.raises(MixedCodebooks, match="book-a and book-b"):
        stack_latents([make_latents(1), make_latents(1, codebook_id="book-b")])
    writer = LatentWriter(tmp_path / "store", make_info())
    with pytest.raises(MixedCodebooks, match=r"book-b.*book-a"):
        writer.add(make_windows([0], codebook_id="book-b"), next_clip=1, unreadable=[])


def test_a_full_disk_keeps_what_was_finished(tmp_path, monkeypatch):
    folder = tmp_path / "store"
    writer = LatentWriter(folder, make_info())
    writer.add(make_windows([0]), next_clip=1, unreadable=[])
    before = read_index(folder)

    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(DiskFull, match="repeat the same command"):
        writer.add(make_windows([1]), next_clip=2, unreadable=[])
    monkeypatch.undo()
    assert read_index(folder) == before and LatentWriter(folder, make_info()).next_clip == 1


def test_a_store_without_a_window_is_an_error(tmp_path):
    writer = LatentWriter(tmp_path / "store", make_info())
    writer.add(None, next_clip=3, unreadable=[])
    with pytest.raises(StoreError, match="no clip holds a window"):
        writer.finish()


def test_features_take_two_bytes_a_number(store):
    stored = sum(path.stat().st_size for path in store.glob("*.safetensors"))
    numbers = 9 * (2 + 12) * 6
    codes = 9 * (12 + 12) + 9 * 12 * 16 * 4
    assert stored < 2 * numbers + codes + 9 * (8 + 4 + 1) + 2 * 2000
    assert LatentStore(store).codes().dtype == np.int64


def test_a_model_with_other_slots_is_told_what_to_set():
    make_info().require_slots(make_info())
    with pytest.raises(StoreError, match=r"has codes_per_transition=4, the model 1: set model.codes_per_transition=4"):
        make_info().require_slots(make_info(codes_per_transition=1))


def test_a_store_that_names_its_codebook_and_maker_by_former_ids_is_continued_and_accepted(tmp_path):
    before = make_info(codebook_id="old-book", maker="old-maker")
    writer = LatentWriter(tmp_path / "store", before)
    writer.add(make_windows([0], codebook_id="old-book"), next_clip=1, unreadable=[])
    former = {"book": ["old-book"], "maker": ["older-maker", "old-maker"]}
    after = make_info(codebook_id="book", maker="maker", former_ids=former)
    assert after.fingerprint == make_info(codebook_id="book", maker="maker").fingerprint
    assert LatentWriter(tmp_path / "store", after).next_clip == 1
    with pytest.raises(StoreError, match="holds another store"):
        LatentWriter(tmp_path / "store", make_info(codebook_id="book", maker="maker"))
    before.require_codebook("book", where="a model", former_ids=former)
    after.require_codebook("old-book", where="a model")
    with pytest.raises(MixedCodebooks):
        before.require_codebook("book", where="a model")
