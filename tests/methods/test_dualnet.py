"""What is special to Dual-Net: its equation, who teaches whom, which term reaches which network, its switches."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from method_material import make_batch, make_method, optimizers_of, progress_at, train_step
from torch import Tensor, nn

from semivox.components.ema import EmaTeacher
from semivox.components.uncertainty import Sample
from semivox.errors import UsageError
from semivox.methods.dualnet import DualNet, DualNetConfig
from semivox.networks import network_factory
from semivox.networks.output import Output
from semivox.networks.resnet import ResNetUNet2d, ResNetVNet
from semivox.networks.vnet import VNet
from semivox.types import Batch, Task

TERMS = ("reg", "contrast", "unlabeled", "uncertainty", "disagreement")
SPACE = (6, 5)
LABELED = 2


class Fixed(nn.Module):
    """A network whose outputs are its parameters, whatever the image."""

    encoder_widths = decoder_widths = (4,)

    def __init__(self, seed: int, classes: int, *, scale: float = 2.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.logits = nn.Parameter(scale * torch.randn(4, classes, *SPACE, generator=generator))
        self.features = nn.Parameter(torch.randn(4, 4, *SPACE, generator=generator))

    def forward(self, image: Tensor) -> Output:
        return Output(self.logits * 1.0, (), (self.features * 1.0,))


def tiny(classes: int = 2, *, seeds: tuple[int, int] = (1, 2), **config: object) -> DualNet:
    task = Task(dimensions=2, channels=1, classes=classes, labeled_cases=2)
    networks = iter([Fixed(seed, classes) for seed in seeds])
    return DualNet(DualNetConfig(**config), lambda **overrides: next(networks), task)


def tiny_batch(classes: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(9)
    label = torch.randint(classes, (LABELED, *SPACE), generator=generator)
    return Batch(torch.zeros(4, 1, *SPACE), label, torch.arange(4))


def step(method: DualNet, classes: int = 2, at: int = 6000):
    torch.manual_seed(0)
    return method(tiny_batch(classes), progress_at(at, 6000))


def only(term: str, **config: object) -> dict[str, object]:
    return {"drop": tuple(name for name in TERMS if name != term), **config}


def gradients_of(method: DualNet, classes: int = 2) -> list[Tensor]:
    """Logits and features of the first network, then of the second."""
    method.zero_grad()
    step(method, classes).loss.backward()
    tensors = (method.first.logits, method.first.features, method.second.logits, method.second.features)
    return [torch.zeros_like(each) if each.grad is None else each.grad.clone() for each in tensors]


# --- the equation, voxel by voxel ------------------------------------------------------------------------------


def softmax(row: np.ndarray) -> np.ndarray:
    values = np.exp(row - row.max())
    return values / values.sum()


def entropy_of(p: np.ndarray) -> float:
    return float(-(p * np.log(p)).sum())


class Reference:
    """All terms by loops over voxels, from the equations; every candidate is drawn (share 1, as many of each)."""

    def __init__(self, method: DualNet, classes: int) -> None:
        self.classes = classes
        networks = (method.first, method.second)
        rows = [each.logits.detach().double().movedim(1, -1).reshape(-1, classes).numpy() for each in networks]
        self.features = [each.features.detach().double().movedim(1, -1).reshape(-1, 4).numpy() for each in networks]
        self.p = [np.array([softmax(row) for row in each]) for each in rows]
        self.label = tiny_batch(classes).label.flatten().numpy()
        self.labeled = range(len(self.label))
        self.unlabeled = range(len(self.label), len(rows[0]))
        self.everywhere = range(len(rows[0]))
        self.dice = [self._dice(p) for p in self.p]
        self.teacher = 1 if self.dice[1] <= self.dice[0] else 0
        self.pseudo = {v: self._union(v) for v in self.unlabeled}
        entropies = [{v: entropy_of(p[v]) for v in self.unlabeled} for p in self.p]
        limits = [np.percentile(list(each.values()), 20) for each in entropies]
        self.reliable = {v for v in self.unlabeled if not all(
            each[v] > limit for each, limit in zip(entropies, limits, strict=True))}

    def _dice(self, p: np.ndarray) -> float:
        parts = []
        for k in range(1, self.classes):
            y = np.array([float(self.label[v] == k) for v in self.labeled])
            mine = np.array([p[v, k] for v in self.labeled])
            parts.append((2 * (mine * y).sum() + 1e-5) / ((mine**2).sum() + (y**2).sum() + 1e-5))
        return 1 - float(np.mean(parts))

    def _union(self, v: int) -> int:
        one, other = (int(p[v].argmax()) for p in self.p)
        if one and other:
            return one if self.p[0][v, one] >= self.p[1][v, other] else other
        return one or other

    def supervised(self) -> float:
        cross_entropy = [np.mean([-math.log(p[v, self.label[v]]) for v in self.labeled]) for p in self.p]
        return sum(cross_entropy) + sum(self.dice)

    def disagreement(self) -> float:
        def confident(p: np.ndarray) -> int:
            best = 1 + int(p[1:].argmax())
            return best if p[best] >= 0.6 else 0

        contested = [v for v in self.labeled if confident(self.p[0][v]) != confident(self.p[1][v])]
        assert contested
        return sum(sum(0.5 * sum((p[v, k] - (self.label[v] == k)) ** 2 for k in range(self.classes))
                       for v in contested) / len(contested) for p in self.p)

    def unlabeled_term(self) -> float:
        scale = len(self.unlabeled) / len(self.reliable)
        return sum(scale * np.mean([-math.log(p[v, self.pseudo[v]]) for v in self.reliable]) for p in self.p)

    def uncertainty(self) -> float:
        teacher, student = self.p[self.teacher], self.p[1 - self.teacher]
        total = 0.0
        for v in self.everywhere:
            divergence = sum(teacher[v] * np.log(teacher[v] / student[v]))
            total += math.exp(-divergence) * -math.log(student[v, teacher[v].argmax()]) + divergence
        return total / len(self.everywhere)

    def reg(self) -> float:
        a, b = self.p
        return float(np.mean([1 - a[v] @ b[v] / (np.linalg.norm(a[v]) * np.linalg.norm(b[v]))
                              for v in self.everywhere]))

    def contrast(self) -> float:
        student = 1 - self.teacher
        features, p = self.features[student], self.p[student]
        prototypes: dict[int, np.ndarray] = {}
        within = 0.0
        for k in range(self.classes):
            mine = [features[v] for v in self.reliable if self.pseudo[v] == k]
            drawn = [features[v] for v in self.unlabeled if v not in self.reliable and p[v].argmax() == k]
            if mine:
                prototypes[k] = unit(np.mean(mine, 0))
            if mine and drawn:
                within += np.mean([np.linalg.norm(unit(c) - prototypes[k]) for c in drawn])
        pairs = [2 - np.linalg.norm(prototypes[k] - prototypes[m]) if {k, m} <= set(prototypes) else 0.0
                 for k in range(self.classes) for m in range(k + 1, self.classes)]
        return 2 / self.classes * within + float(np.mean(pairs))


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def draw_everything(answer: Tensor, eligible: Tensor, classes: int, share: float) -> Sample:
    """Every uncertain voxel, so that the term is not random."""
    members = torch.stack([eligible & (answer == k) for k in range(classes)])
    return Sample(torch.arange(len(answer)).expand(classes, -1), members)


def draw_nothing(answer: Tensor, eligible: Tensor, classes: int, share: float) -> Sample:
    return Sample(torch.zeros(classes, 1, dtype=torch.int64), torch.zeros(classes, 1, dtype=torch.bool))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("seeds", [(1, 2), (2, 1), (3, 4)])
def test_all_terms_are_the_equations_voxel_by_voxel(classes, seeds, monkeypatch) -> None:
    method = tiny(classes, seeds=seeds)
    monkeypatch.setattr("semivox.components.uncertainty.sample_candidates", draw_everything)
    out = step(method, classes, at=3000)
    slow = Reference(method, classes)
    expected = {"supervised": slow.supervised(), "disagreement": slow.disagreement(),
                "unlabeled": slow.unlabeled_term(), "uncertainty": slow.uncertainty(), "reg": slow.reg(),
                "contrast": slow.contrast()}
    found = {name: out.terms[name].item() for name in expected}
    assert found == pytest.approx(expected, rel=1e-4)
    weights = {"supervised": 1, "disagreement": 0.5, "unlabeled": 1, "uncertainty": 1, "reg": 1,
               "contrast": 0.1 * math.exp(-5 * 0.25)}
    assert out.loss.item() == pytest.approx(sum(weights[name] * expected[name] for name in expected), rel=1e-4)
    assert out.terms["second_wins"].item() == slow.teacher
    assert out.terms["reliable_share"].item() == pytest.approx(len(slow.reliable) / len(slow.unlabeled))
    assert out.terms["pseudo_foreground"].item() == pytest.approx(np.mean([k > 0 for k in slow.pseudo.values()]))
    same = [slow.p[0][v].argmax() == slow.p[1][v].argmax() for v in slow.unlabeled]
    assert out.terms["agreement"].item() == pytest.approx(np.mean(same))


@pytest.mark.parametrize("classes", [2, 4])
def test_swapping_the_networks_changes_no_term(classes) -> None:
    one, other = step(tiny(classes), classes), step(tiny(classes, seeds=(2, 1)), classes)
    for name in ("supervised", *TERMS):
        torch.testing.assert_close(one.terms[name], other.terms[name])
    assert one.terms["second_wins"] + other.terms["second_wins"] == 1


# --- networks --------------------------------------------------------------------------------------------------


def test_networks_are_a_v_net_and_a_resnet_with_the_published_parameters() -> None:
    task = Task(dimensions=3, channels=1, classes=2, labeled_cases=8)
    with torch.device("meta"):
        method = DualNet(DualNetConfig(), network_factory("vnet", task=task), task)
    assert isinstance(method.first, VNet)
    assert isinstance(method.second, ResNetVNet)
    assert sum(parameter.numel() for parameter in method.parameters()) == 27_379_220


def test_second_network_follows_the_dimensions_or_its_name() -> None:
    assert isinstance(make_method("dualnet", dimensions=2).second, ResNetUNet2d)
    assert isinstance(make_method("dualnet", second_network="vnet").second, VNet)
    with pytest.raises(UsageError, match="segments 2D images"):
        make_method("dualnet", second_network="resnet34_unet2d")


def test_network_without_decoder_maps_is_refused_unless_the_contrast_is_dropped() -> None:
    class Bare(Fixed):
        decoder_widths = ()

    task = Task(dimensions=2, channels=1, classes=2, labeled_cases=2)
    with pytest.raises(UsageError, match="decoder maps.*unet2d"):
        DualNet(DualNetConfig(), lambda **overrides: Bare(1, 2), task)
    DualNet(DualNetConfig(drop=("contrast",)), lambda **overrides: Bare(1, 2), task)


def test_predictor_is_the_mean_of_both_whichever_comes_first() -> None:
    image = torch.zeros(4, 1, *SPACE)
    method, swapped = tiny(3), tiny(3, seeds=(2, 1))
    probs = method.predictor()(image)
    torch.testing.assert_close(probs, (method.first.logits.softmax(1) + method.second.logits.softmax(1)) / 2)
    assert torch.equal(probs.argmax(1), swapped.predictor()(image).argmax(1))


def test_observed_are_the_union_and_each_network() -> None:
    method = tiny(2)
    image = torch.zeros(4, 1, *SPACE)
    observed = {name: module(image) for name, module in method.observed().items()}
    assert set(observed) == {"pseudo_label", "first", "second"}
    torch.testing.assert_close(observed["first"], method.first.logits.softmax(1))
    torch.testing.assert_close(observed["second"], method.second.logits.softmax(1))
    either = method.first.logits.argmax(1) | method.second.logits.argmax(1)
    assert torch.equal(observed["pseudo_label"].argmax(1), either)


# --- who teaches -----------------------------------------------------------------------------------------------


def right_and_wrong(right: str, **config: object) -> DualNet:
    """One network knows the labels, the other says the opposite."""
    method = tiny(2, **config)
    label = tiny_batch().label
    truth = torch.stack([1 - label, label], 1).float()
    with torch.no_grad():
        for name in ("first", "second"):
            sign = 1 if name == right else -1
            getattr(method, name).logits[:LABELED] = sign * 2 * (2 * truth - 1)
    return method


@pytest.mark.parametrize("winner", ["first", "second"])
def test_network_with_the_lower_dice_loss_teaches(winner) -> None:
    method = right_and_wrong(winner, **only("uncertainty"))
    assert step(method).terms["second_wins"].item() == float(winner == "second")
    without = right_and_wrong(winner, drop=TERMS)
    changed = [not torch.equal(a, b) for a, b in zip(gradients_of(method), gradients_of(without), strict=True)]
    assert changed == ([False, False, True, False] if winner == "first" else [True, False, False, False])


def test_second_network_teaches_when_they_tie() -> None:
    method = tiny(2, seeds=(1, 1))
    assert step(method).terms["second_wins"].item() == 1


@pytest.mark.parametrize("winner", ["first", "second"])
def test_fixed_teacher_is_always_the_first(winner) -> None:
    method = right_and_wrong(winner, teacher="fixed", **only("uncertainty"))
    assert step(method).terms["second_wins"].item() == 0
    teacher_gradient = gradients_of(method)[0]
    assert torch.equal(teacher_gradient, gradients_of(right_and_wrong(winner, drop=TERMS))[0])


@pytest.mark.parametrize("winner", ["first", "second"])
def test_unc_dir_of_the_release_lets_the_first_teach_in_that_term_alone(winner) -> None:
    released = right_and_wrong(winner, unc_dir="vnet_to_resnet")
    without = right_and_wrong(winner, drop=("uncertainty",))
    changed = [not torch.equal(a, b) for a, b in zip(gradients_of(released), gradients_of(without), strict=True)]
    assert changed == [False, False, True, False]
    assert step(released).terms["second_wins"].item() == float(winner == "second")  # of the contrast


@pytest.mark.parametrize("classes", [2, 4])
def test_contrast_reaches_the_features_of_the_learning_network_alone(classes) -> None:
    for seeds in ((1, 2), (2, 1)):
        method = tiny(classes, seeds=seeds, candidate_share=0.5, **only("contrast"))
        second_wins = step(method, classes).terms["second_wins"].item()
        first_logits, first, second_logits, second = gradients_of(method, classes)
        student, teacher = (first, second) if second_wins else (second, first)
        assert student[LABELED:].abs().sum() > 0
        assert student[:LABELED].abs().sum() == 0
        assert teacher.abs().sum() == 0
        plain = gradients_of(tiny(classes, seeds=seeds, drop=TERMS), classes)
        assert torch.equal(first_logits, plain[0])
        assert torch.equal(second_logits, plain[2])


# --- which term reaches what -----------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(("term", "rows"), [
    ("disagreement", slice(0, LABELED)), ("unlabeled", slice(LABELED, 4)), ("reg", slice(0, 4))])
def test_term_has_a_gradient_in_both_networks_where_it_looks(term, rows, classes) -> None:
    plain = gradients_of(tiny(classes, drop=TERMS), classes)
    found = gradients_of(tiny(classes, **only(term)), classes)
    for index in (0, 2):
        difference = (found[index] - plain[index]).flatten(1).abs().sum(1)
        expected = torch.zeros(4, dtype=torch.bool)
        expected[rows] = True
        assert torch.equal(difference > 0, expected)


@pytest.mark.parametrize("term", TERMS)
def test_each_term_reaches_the_weights_of_real_networks(term) -> None:
    batch = make_batch()
    with_term = make_method("dualnet", **only(term, rampup_steps=0))
    without = make_method("dualnet", drop=TERMS)
    for method in (with_term, without):
        torch.manual_seed(0)
        method(batch, progress_at(5)).loss.backward()
    changed = {name.partition(".")[0] for (name, mine), theirs in
               zip(with_term.named_parameters(), without.parameters(), strict=True)
               if not torch.equal(mine.grad, torch.zeros_like(mine) if theirs.grad is None else theirs.grad)}
    taught = {"first"} if without(batch, progress_at(5)).terms["second_wins"] else {"second"}
    assert changed == (taught if term in {"uncertainty", "contrast"} else {"first", "second"})


def test_pseudo_label_gradient_is_that_of_live_logits() -> None:
    method = tiny(2, **only("unlabeled"))
    found, plain = gradients_of(method), gradients_of(tiny(2, drop=TERMS))
    slow = Reference(method, 2)
    count = len(slow.reliable)
    for index, p in ((0, slow.p[0]), (2, slow.p[1])):
        gradient = (found[index] - plain[index])[LABELED:].movedim(1, -1).reshape(-1, 2).double().numpy()
        for row, v in zip(gradient, slow.unlabeled, strict=True):
            onehot = np.eye(2)[slow.pseudo[v]]
            expected = len(slow.unlabeled) / count**2 * (p[v] - onehot) if v in slow.reliable else np.zeros(2)
            np.testing.assert_allclose(row, expected, atol=1e-6)


# --- switches --------------------------------------------------------------------------------------------------


def test_released_profile_is_the_objective_that_trained_the_released_networks() -> None:
    overrides = DualNet.profiles["released"]
    config = {path.partition(".")[2]: value for path, value in overrides.items() if path.startswith("method.")}
    out = step(tiny(2, **config))
    weighted = {name for name in out.terms if f"{name}_weight" in out.terms}
    assert weighted == {"disagreement", "uncertainty", "reg"}  # L_s holds L_cr
    assert "reliable_share" not in out.terms
    alive = tiny(2, **{**config, "released_bugs": False})
    assert {"unlabeled", "contrast"} <= set(step(alive).terms)
    assert overrides["data.augmentation"] == "crop"
    assert overrides["optimizer.schedule"] == "step"
    assert DualNet.profiles["default"] == {"network.init": "kaiming"}


def test_staircase_moves_the_contrast_weight_once_in_its_steps() -> None:
    method = tiny(2, ramp_staircase=150)
    weights = [step(method, at=at).terms["contrast_weight"] for at in (150, 299, 300)]
    assert weights[0] == weights[1] < weights[2]
    smooth = tiny(2)
    assert step(smooth, at=150).terms["contrast_weight"] < step(smooth, at=299).terms["contrast_weight"]
    constant = {step(smooth, at=at).terms["reg_weight"].item() for at in (0, 3000, 6000)}
    assert constant == {1.0}


def test_unc_detach_keeps_the_value_and_changes_the_gradient() -> None:
    live, constant = tiny(2, **only("uncertainty")), tiny(2, unc_detach=True, **only("uncertainty"))
    assert torch.equal(step(live).terms["uncertainty"], step(constant).terms["uncertainty"])
    assert any(not torch.allclose(a, b) for a, b in zip(gradients_of(live), gradients_of(constant), strict=True))


def test_lc_sign_turns_the_force_between_the_prototypes_round(monkeypatch) -> None:
    monkeypatch.setattr("semivox.components.uncertainty.sample_candidates", draw_nothing)
    minus, plus = (tiny(2, lc_sign=sign, **only("contrast")) for sign in ("minus", "plus"))
    total = step(minus).terms["contrast"] + step(plus).terms["contrast"]
    assert total.item() == pytest.approx(2, rel=1e-5)
    for mine, theirs in zip(gradients_of(minus)[1::2], gradients_of(plus)[1::2], strict=True):
        torch.testing.assert_close(mine, -theirs)


def test_percentile_decides_how_much_is_reliable() -> None:
    shares = [step(tiny(2, percentile=percentile)).terms["reliable_share"].item() for percentile in (5.0, 20.0, 50.0)]
    assert 0.2 - 1e-6 <= shares[1] <= 0.4 + 1e-6
    assert shares[0] < shares[1] < shares[2]


def test_confidence_decides_what_is_contested() -> None:
    shares = [step(tiny(2, confidence=value)).terms["contested_share"].item() for value in (0.0, 0.6, 1.0)]
    assert shares[0] == shares[2] == 0
    assert shares[1] > 0


def test_candidate_share_decides_how_many_voxels_are_drawn() -> None:
    reached = []
    for share in (0.0, 1.0):
        method = tiny(2, candidate_share=share, **only("contrast"))
        gradients = gradients_of(method)
        reached.append(max((each.abs().sum(1) > 0).sum().item() for each in (gradients[1], gradients[3])))
    assert reached[0] < reached[1]


# --- the moving averages ---------------------------------------------------------------------------------------


def test_averages_exist_only_where_they_teach() -> None:
    kinds = {teacher: sum(isinstance(m, EmaTeacher) for m in make_method("dualnet", teacher=teacher).modules())
             for teacher in ("winner", "fixed", "ema")}
    assert kinds == {"winner": 0, "fixed": 0, "ema": 2}


def test_averages_make_the_pseudo_labels_and_teach() -> None:
    method, plain = tiny(2, teacher="ema"), tiny(2)
    assert step(method).loss == step(plain).loss  # they start as copies
    with torch.no_grad():
        for average in method.averages:
            average.network.logits.copy_(torch.randn_like(average.network.logits))
    moved, before = step(method).terms, step(plain).terms
    for name in ("unlabeled", "uncertainty"):
        assert moved[name] != before[name]
    for name in ("supervised", "disagreement", "reg", "agreement", "second_wins"):
        assert moved[name] == before[name]
    image = torch.zeros(4, 1, *SPACE)
    either = method.averages[0].network.logits.argmax(1) | method.averages[1].network.logits.argmax(1)
    assert torch.equal(method.observed()["pseudo_label"](image).argmax(1), either)
    deployed = {id(parameter) for parameter in method.predictor().parameters()}
    assert not deployed & {id(parameter) for parameter in method.averages.parameters()}


def test_averages_follow_after_each_step_with_their_decay() -> None:
    method = make_method("dualnet", dimensions=2, teacher="ema", ema_decay=0.5)
    optimizers = optimizers_of(method)
    for at in range(3):
        before = [p.clone() for p in method.averages[1].network.parameters()]
        train_step(method, optimizers, make_batch(2, seed=at), progress_at(at))
    for old, mine, theirs in zip(before, method.averages[1].network.parameters(), method.second.parameters(),
                                 strict=True):
        torch.testing.assert_close(mine, 0.5 * old + 0.5 * theirs)
    assert not any(parameter.requires_grad for parameter in method.averages.parameters())


# --- odd batches -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("answer", [0, 1])
@pytest.mark.parametrize("size", [5.0, 500.0])
def test_a_single_class_everywhere_gives_finite_terms_and_gradients(classes, answer, size) -> None:
    method = tiny(classes)
    with torch.no_grad():
        for network in (method.first, method.second):
            network.logits.fill_(0)
            network.logits[:, answer] = size  # 500: a saturated softmax, all entropies tie at zero
    batch = tiny_batch(classes)
    out = method(batch._replace(label=torch.full_like(batch.label, answer)), progress_at(6000, 6000))
    out.loss.backward()
    assert all(torch.isfinite(value) for value in out.terms.values())
    assert out.terms["reliable_share"].item() == 1
    for parameter in method.parameters():
        assert torch.isfinite(parameter.grad).all()


def test_saturated_networks_that_contradict_each_other_stay_finite() -> None:
    method = tiny(2)
    with torch.no_grad():
        method.first.logits.mul_(1000)
        method.second.logits.mul_(-1000)
    out = step(method)
    out.loss.backward()
    assert torch.isfinite(out.loss)
    assert all(torch.isfinite(parameter.grad).all() for parameter in method.parameters())


def test_dropped_contrast_draws_no_random_numbers() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    tiny(2, drop=("contrast",))(tiny_batch(), progress_at(0))
    assert torch.equal(torch.get_rng_state(), before)
    tiny(2)(tiny_batch(), progress_at(0))
    assert not torch.equal(torch.get_rng_state(), before)


def test_config_is_frozen_with_the_released_values() -> None:
    config = DualNetConfig()
    values = (config.disagreement_weight, config.confidence, config.percentile, config.contrast_weight)
    assert values == (0.5, 0.6, 20, 0.1)
    assert replace(config, drop=("reg",)).drop == ("reg",)
