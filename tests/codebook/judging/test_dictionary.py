"""The dictionary counts what codes do: worked by hand where the codes are given, whole where a codebook gives them."""

import numpy as np
import pytest
import torch

from latentdrive.codebook.judging.dictionary import FIRST, NEXT, Dictionary, _follows, _typical, look_up, next_pictures
from latentdrive.errors import NoClips, StoreError
from tests.support.codebook import make_batch, make_model, settle, wake


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    model = wake(make_model())
    for book in (model.environment_book, model.ego_book):
        book.train()(torch.randn(200, 2, 8))  # gives an untrained book its entries
    return look_up(model, [make_batch(seed=1, transitions=3), make_batch(seed=2, transitions=3, clips=3)], examples=2)


def test_every_transition_of_every_window_is_counted(dictionary):
    assert dictionary.ego.shape == (4 * 3 + 3 * 3, 2)
    assert dictionary.window.tolist() == sorted(dictionary.window) and dictionary.window.max() == 6
    assert dictionary.place.tolist() == [0, 1, 2] * 7
    np.testing.assert_allclose(dictionary.usage().sum(1), 1.0)


def test_what_follows_is_counted_within_a_window_and_a_slot():
    ego = np.array([[0, 1], [2, 1], [2, 3], [0, 0], [1, 1]])
    window = np.array([0, 0, 0, 1, 1])
    follows = _follows(ego, window, 4)
    expected = np.zeros((4, 4), int)
    for first, second in ((0, 2), (2, 2), (1, 1), (1, 3), (0, 1), (0, 1)):
        expected[first, second] += 1
    assert (follows == expected).all()


def test_typical_moments_lie_nearest_to_the_mean_motion_and_come_from_different_clips():
    ego = np.zeros((5, 1), int)
    motion = np.zeros((5, 4))
    motion[:, 0] = [0.0, 4.9, 5.0, 10.0, 5.1]
    typical = _typical(ego, motion, np.full(5, True), np.array([0, 1, 1, 2, 3]), codes=2, examples=2)
    assert typical[0].tolist() == [2, 4]  # row 1 is nearer than row 4, but of the clip of row 2
    assert typical[1].tolist() == [-1, -1]


def test_pictures_show_the_very_frames_of_the_examples(dictionary):
    batch = make_batch(seed=1, transitions=3)
    code, example = next((c, x) for c, x in np.argwhere(dictionary.examples >= 0) if dictionary.examples[c, x] < 12)
    row = dictionary.examples[code, example]
    frames = batch.frames[row // 3].numpy()
    assert (dictionary.pictures[code, example, FIRST] == frames[row % 3]).all()
    assert (dictionary.pictures[code, example, NEXT] == frames[row % 3 + 1]).all()


def test_an_untrained_codebook_predicts_the_present_frame():
    model, batch = make_model().eval(), make_batch()
    seen = model.observe(batch.frames)
    vectors = torch.zeros(4, 2, 2, 8)
    shown = next_pictures(model, seen, model.predict_from_codes(seen, vectors, vectors))
    assert (shown.int() - batch.frames[:, :-1].flatten(0, 1).int()).abs().max() <= 1


def test_it_is_the_same_after_saving_and_loading(dictionary, tmp_path):
    dictionary.save(tmp_path / "dictionary.npz")
    again = Dictionary.load(tmp_path / "dictionary.npz")
    assert (again.ego == dictionary.ego).all() and (again.pictures == dictionary.pictures).all()
    assert (again.transition_s, again.codebook_id) == (dictionary.transition_s, dictionary.codebook_id)


def test_a_damaged_file_is_named(dictionary, tmp_path):
    dictionary.save(tmp_path / "d.npz")
    whole = (tmp_path / "d.npz").read_bytes()
    middle = len(whole) // 2
    for damaged in (b"no archive", b"", whole[:middle], whole[:middle] + bytes(200) + whole[middle + 200 :]):
        (tmp_path / "d.npz").write_bytes(damaged)
        with pytest.raises(StoreError, match=r"d\.npz is no dictionary of codes .*remove it"):
            Dictionary.load(tmp_path / "d.npz")


def test_without_windows_there_is_no_dictionary():
    with pytest.raises(NoClips, match="no held-out window"):
        look_up(make_model(), [], examples=1)


def test_strips_show_a_its_next_frame_b_and_what_the_code_of_a_makes_of_b():
    model = wake(settle(make_model()))
    batch = make_batch(clips=6)
    strips = look_up(model, [batch], examples=1).transplants
    assert strips.shape == (6, 4, 3, model.height, model.width_px)
    firsts = batch.frames[:, 0].numpy()
    for a_first, a_next, b_first, made in strips:
        a = next(i for i in range(6) if np.array_equal(firsts[i], a_first))
        assert np.array_equal(a_next, batch.frames[a, 1]) and np.array_equal(b_first, firsts[a - 1])
        assert made.dtype == np.uint8 and not np.array_equal(made, b_first)
    apart = [abs(batch.motion[i, 0, 0] - batch.motion[i - 1, 0, 0]) for i in range(6)]
    most = int(np.argmax(apart))
    assert np.array_equal(strips[0][0], firsts[most]), "the pair that differs most comes first"


def test_there_is_no_strip_where_all_windows_are_of_one_clip():
    batch = make_batch(clips=3)
    batch.clip[:] = 0
    assert len(look_up(wake(settle(make_model())), [batch], examples=1).transplants) == 0
