"""What a phase gives for a batch that it can't use."""

import pytest
import torch

from latentdrive.codebook.losses import CodebookLoss
from latentdrive.errors import ConfigError
from tests.support.codebook import make_batch, make_model, phase_loss

LOSS = CodebookLoss(features=0.0, pixels=1.0, moving=0.0, regression=0.0, regression_share=0.0)


def test_a_batch_without_poses_is_passed_over_by_one_device_and_an_error_on_several(monkeypatch):
    model, batch = make_model().train(), make_batch(known=False)
    loss, logged = phase_loss(model, batch, "environment", LOSS)
    assert loss.item() == 0.0 and logged == {}
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    with pytest.raises(ConfigError, match=r"a device has 0 windows with poses .* raise batches\.batch_size"):
        phase_loss(model, batch, "environment", LOSS)
