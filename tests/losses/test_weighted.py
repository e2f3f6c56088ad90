"""Weighted losses against loops written from their equations."""

from __future__ import annotations

import math

import pytest
import torch

from semivox.losses.weighted import coverage_weighted_ce, kl_weighted_ce, masked_brier

cases = pytest.mark.parametrize(
    ("classes", "space"),
    [(2, (4, 3)), (4, (4, 3)), (2, (3, 2, 4)), (4, (3, 2, 4))],
    ids=["2-2d", "4-2d", "2-3d", "4-3d"],
)


def material(classes, space):
    """Log-probabilities of two networks, labels and a mask."""
    generator = torch.Generator().manual_seed(3)
    first, second = (torch.randn(2, classes, *space, generator=generator).mul(2).log_softmax(1) for _ in range(2))
    label = torch.randint(classes, (2, *space), generator=generator)
    mask = torch.rand(2, *space, generator=generator) < 0.4
    return first, second, label, mask


def rows(values):
    """Rows of K values, one for each voxel of the batch."""
    return values.double().movedim(1, -1).reshape(-1, values.shape[1]).numpy()


@cases
def test_coverage_weighted_ce_is_the_mean_over_the_mask_over_its_share(classes, space):
    logs, _, label, mask = material(classes, space)
    picked = [-row[y] for row, y, m in zip(rows(logs), label.flatten().tolist(), mask.flatten(), strict=True) if m]
    expected = len(label.flatten()) / len(picked) * sum(picked) / len(picked)
    assert coverage_weighted_ce(logs, label, mask).item() == pytest.approx(expected, rel=1e-5)


@cases
@pytest.mark.parametrize("detach", [False, True])
def test_kl_weighted_ce_is_the_mean_of_the_weighted_errors_and_of_the_divergence(classes, space, detach):
    student, teacher, _, _ = material(classes, space)
    total, count = 0.0, 0
    for p, q in zip(rows(student), rows(teacher), strict=True):
        divergence = sum(math.exp(b) * (b - a) for a, b in zip(p, q, strict=True))
        assert divergence >= 0
        total += math.exp(-divergence) * -p[q.argmax()] + divergence
        count += 1
    found = kl_weighted_ce(student, teacher, detach_weight=detach).item()
    assert found == pytest.approx(total / count, rel=1e-5)


@cases
def test_masked_brier_is_the_mean_over_the_mask_of_half_the_squared_error(classes, space):
    logs, _, label, mask = material(classes, space)
    errors = [
        sum((math.exp(value) - (k == y)) ** 2 for k, value in enumerate(row)) / 2
        for row, y, m in zip(rows(logs), label.flatten().tolist(), mask.flatten(), strict=True)
        if m
    ]
    assert masked_brier(logs.exp(), label, mask).item() == pytest.approx(sum(errors) / len(errors), rel=1e-5)


def test_masked_brier_of_two_classes_is_the_squared_error_of_the_foreground():
    logs, _, label, mask = material(2, (3, 2, 4))
    foreground = logs.exp()[:, 1][mask]
    expected = (foreground - label[mask].float()).square().mean()
    torch.testing.assert_close(masked_brier(logs.exp(), label, mask), expected)


def test_masked_brier_reaches_from_zero_to_one():
    right = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)
    mask = torch.ones(1, 1, 1, dtype=torch.bool)
    assert masked_brier(right, torch.tensor([[[1]]]), mask).item() == 0
    assert masked_brier(right, torch.tensor([[[2]]]), mask).item() == 1


def test_a_network_that_learns_from_its_own_answers_pays_their_cross_entropy():
    logs, _, _, _ = material(4, (4, 3))
    expected = -logs.max(1).values.mean()
    torch.testing.assert_close(kl_weighted_ce(logs, logs), expected)


def test_detaching_the_weight_changes_the_gradient_and_not_the_value():
    student, teacher, _, _ = material(2, (4, 3))
    found = []
    for detach in (False, True):
        logits = student.clone().requires_grad_()
        value = kl_weighted_ce(logits.log_softmax(1), teacher, detach_weight=detach)
        value.backward()
        found.append((value.detach(), logits.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert not torch.allclose(found[0][1], found[1][1])
    # with a constant weight w the gradient is (w (p - onehot) + (p - q)) / voxels
    p, q = student.exp(), teacher.exp()
    weight = (-(q * (teacher - student)).sum(1, keepdim=True)).exp()
    answer = torch.nn.functional.one_hot(teacher.argmax(1), 2).movedim(-1, 1)
    torch.testing.assert_close(found[1][1], (weight * (p - answer) + (p - q)) / (2 * 4 * 3))


@pytest.mark.parametrize("loss", [coverage_weighted_ce, masked_brier])
def test_an_empty_mask_costs_nothing_and_has_a_gradient_of_zero(loss):
    logs, _, label, mask = material(3, (4, 3))
    logits = logs.clone().requires_grad_()
    values = logits.log_softmax(1) if loss is coverage_weighted_ce else logits.softmax(1)
    value = loss(values, label, torch.zeros_like(mask))
    value.backward()
    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_voxels_outside_the_mask_have_no_gradient():
    logs, _, label, mask = material(3, (4, 3))
    for loss in (lambda z: coverage_weighted_ce(z.log_softmax(1), label, mask),
                 lambda z: masked_brier(z.softmax(1), label, mask)):
        logits = logs.clone().requires_grad_()
        loss(logits).backward()
        reached = logits.grad.abs().sum(1) > 0
        assert torch.equal(reached, mask)


def test_is_float32_in_half_precision_and_finite_where_the_softmax_saturates():
    logits = torch.tensor([300.0, -300.0]).view(1, 2, 1, 1).bfloat16().requires_grad_()
    logs = logits.log_softmax(1)
    mask = torch.ones(1, 1, 1, dtype=torch.bool)
    label = torch.ones(1, 1, 1, dtype=torch.int64)
    values = [
        coverage_weighted_ce(logs, label, mask),
        kl_weighted_ce(logs, (-logs.detach()).log_softmax(1)),
        masked_brier(logs.exp(), label, mask),
    ]
    sum(values).backward()
    assert all(value.dtype == torch.float32 and torch.isfinite(value) for value in values)
    assert torch.isfinite(logits.grad).all()
