from __future__ import annotations

import pytest
import torch
from method_material import make_batch, make_method, progress_at

from semivox.losses.supervised import ce_dice


@pytest.mark.parametrize(("dimensions", "classes"), [(2, 3), (3, 2)])
def test_loss_is_half_cross_entropy_half_dice_of_the_labeled_scans(dimensions: int, classes: int) -> None:
    method = make_method("supervised", dimensions=dimensions, classes=classes)
    batch = make_batch(dimensions, classes)
    out = method(batch, progress_at(0), "main")
    assert torch.equal(out.loss, ce_dice(method.network(batch.labeled_image).logits, batch.label))
    assert list(out.terms) == ["supervised"]


def test_network_is_not_run_on_unlabeled_scans() -> None:
    rows = []
    method = make_method("supervised")
    method.network.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    method(make_batch(labeled=2, unlabeled=3), progress_at(0), "main")
    assert rows == [2]


def test_batch_may_be_wholly_labeled() -> None:
    out = make_method("supervised")(make_batch(labeled=4, unlabeled=0), progress_at(0), "main")
    assert torch.isfinite(out.loss)


def test_predictor_is_the_softmax_of_the_network() -> None:
    method = make_method("supervised").eval()
    image = make_batch().image
    assert torch.equal(method.predictor().eval()(image), method.network(image).logits.softmax(1))
