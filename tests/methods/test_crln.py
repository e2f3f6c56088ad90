"""What is special to CRLN: who learns from which term, when rectification starts, and what each switch changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from method_material import SIDES, make_batch, make_method, optimizers_of, progress_at, train_step
from torch import Tensor
from torch.nn import functional

from semivox.components.ema import EmaTeacher
from semivox.errors import UsageError
from semivox.imaging.plan import ChannelPlan, Plan
from semivox.losses.supervised import ce_dice
from semivox.methods.crln import CRLN, CRLNConfig
from semivox.networks import network_factory
from semivox.recipes import resolve
from semivox.seeding import seed_torch
from semivox.types import Batch, StepOutput, Task

NOW = {"rectify_start_steps": 0}
"""Rectify from the first step."""
LOW = {"threshold": 0.5, "weak_threshold": 0.4}
"""Thresholds that an untrained teacher passes."""
SPACE = (16, 16, 16)


def build(**config: Any) -> CRLN:
    method = make_method("crln", **config)
    assert isinstance(method, CRLN)
    return method


def small_batch(seed: int = 0) -> Batch:
    batch = make_batch(seed=seed)
    cut = (..., *(slice(0, side) for side in SPACE))
    return Batch(batch.image[cut].contiguous(), batch.label[cut].contiguous(), batch.case)


def step(method: CRLN, *, at: int = 0, batch: Batch | None = None, total: int = 10) -> StepOutput:
    seed_torch(7, at)
    return method(batch or small_batch(), progress_at(at, total), "main")


def gradients_of(method: CRLN, name: str) -> dict[str, Tensor]:
    """Gradient of one raw term, by weighting all others with 0 or by what they do not reach."""
    zero = {f"{key}_weight": 0.0 for key in ("unlabeled", "dim", "cps") if key != name}
    object.__setattr__(method, "config", CRLNConfig(**{**vars(method.config), **zero}))
    method.zero_grad()
    step(method).loss.backward()
    return {key: value.grad.clone() for key, value in method.named_parameters() if value.grad is not None}


def changed(**config: Any) -> StepOutput:
    return step(build(**NOW, **LOW, **config).eval())


# --- who learns from what --------------------------------------------------------------------------------------


def test_loss_is_the_sum_of_the_terms_of_equation_15_and_16() -> None:
    out = step(build(**NOW, **LOW))
    terms = {"supervised", "dim", "unlabeled", "cps", "mu_loss"}
    assert out.loss.item() == pytest.approx(sum(out.terms[key].item() for key in terms), rel=1e-5)
    assert all(out.terms[key] > 0 for key in terms)
    watched = {"mu", "reliable_before", "reliable_after", "coverage", "anchors", "dim_dice"}
    assert set(out.terms) == terms | {f"{key}_weight" for key in terms - {"supervised"}} | watched


def test_mu_loss_reaches_mu_alone_and_no_other_term_reaches_mu() -> None:
    method = build(**NOW, **LOW).eval()
    step(method).loss.backward()
    reached = method.rectification.strength.grad.item()
    fixed = build(drop=["rectification"], **LOW).eval()
    fixed.load_state_dict({key: value for key, value in method.state_dict().items() if "rectification" not in key})
    output, opinion = method.student(small_batch().image, 2)
    logits, mu = output.logits[:2], torch.tensor(0.1, requires_grad=True)
    ce_dice(logits.detach() + (1 - mu) * opinion.detach(), small_batch().label).backward()
    assert reached == pytest.approx(mu.grad.item(), rel=1e-4)

    never = build(rectify_start_steps=100, **LOW).eval()  # the same labels as without rectification
    step(never).loss.backward()
    step(fixed).loss.backward()
    found = dict(fixed.named_parameters())
    for name, parameter in never.named_parameters():
        if parameter.requires_grad and name != "rectification.strength":
            assert torch.allclose(parameter.grad, found[name].grad, atol=1e-6), name


def test_each_term_reaches_the_parameters_it_should() -> None:
    method = build(**NOW, **LOW).eval()
    reached = {}
    for name in ("unlabeled", "dim", "cps", "none"):
        found = gradients_of(build(**NOW, **LOW).eval(), name)
        reached[name] = {key for key, gradient in found.items() if gradient.abs().sum() > 0}
    network = {key for key, value in method.named_parameters() if key.startswith("student.network")}
    module = {key for key, value in method.named_parameters() if key.startswith("student.interaction")}
    head = {key for key, value in method.named_parameters() if key.startswith("cps")}
    strength = {"rectification.strength"}
    assert reached["none"] == reached["unlabeled"] == network | strength
    assert reached["dim"] == network | module | strength
    assert reached["cps"] == network | head | strength  # the prototypes are targets


def test_pseudo_label_term_reaches_the_network_from_the_unlabeled_scans() -> None:
    for weight, some in [(1.0, True), (0.0, False)]:
        batch = small_batch()
        image = batch.image.clone().requires_grad_()
        method = build(unlabeled_weight=weight, cps_weight=0.0, **NOW, **LOW).eval()
        step(method, batch=batch._replace(image=image)).loss.backward()
        assert bool(image.grad[2:].abs().sum() > 0) is some


def test_map_learns_from_labeled_scans_alone() -> None:
    batch = small_batch()
    image = batch.image.clone().requires_grad_()
    method = build(**NOW).eval()
    _, opinion = method.student(image, 2)
    ce_dice(opinion, batch.label).backward()
    assert image.grad[:2].abs().sum() > 0
    assert image.grad[2:].abs().sum() == 0


def test_teacher_gets_no_gradient_and_no_optimizer() -> None:
    method = build(**NOW, **LOW)
    step(method).loss.backward()
    teacher = list(method.teacher.parameters())
    assert all(not parameter.requires_grad and parameter.grad is None for parameter in teacher)
    optimized = {id(p) for group in method.parameters_for("main") for p in group["params"]}
    assert not optimized & {id(parameter) for parameter in teacher}


def test_prototypes_and_mu_are_not_decayed_and_mu_has_a_group_of_its_own() -> None:
    method = build()
    rest, prototypes, strength = method.parameters_for("main")
    assert "weight_decay" not in rest
    assert prototypes == {"params": [method.student.prototypes], "weight_decay": 0.0}
    assert strength == {"params": [method.rectification.strength], "weight_decay": 0.0}
    assert len(build(drop=["rectification"]).parameters_for("main")) == 2
    assert len(build(drop=["dim"]).parameters_for("main")) == 1
    assert len(build(rectify="replace").parameters_for("main")) == 2
    assert len(build(rectify="concat").parameters_for("main")[2]["params"]) == 2


# --- teacher and pseudo-labels ---------------------------------------------------------------------------------


def test_teacher_follows_network_module_and_prototypes_and_first_copies_them() -> None:
    method = build()
    train_step(method, optimizers_of(method), small_batch(), progress_at(0))
    student, teacher = method.student.state_dict(), method.teacher.network.state_dict()
    assert "interaction.prototypes" in teacher
    assert all(torch.equal(student[key], teacher[key]) for key in student)
    train_step(method, optimizers_of(method), small_batch(), progress_at(1))
    assert not torch.equal(method.student.prototypes, method.teacher.network.prototypes)


def labels_of(method: CRLN, at: int, total: int = 10) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    return method._pseudo_labels(small_batch().unlabeled_image, progress_at(at, total))


def test_labels_are_the_plain_ones_before_step_s_and_rectified_from_it_on() -> None:
    method = build(rectify_start_steps=4, mu_start=0.3, dim_residual=True)
    with torch.no_grad():  # an untrained map says too little to change an answer
        method.teacher.network.interaction.merge.weight.mul_(1000)
    output, opinion = method.teacher(small_batch().unlabeled_image)
    plain = output.logits.softmax(1)
    rectified = (output.logits + 0.7 * opinion).softmax(1)
    for at, scores in [(0, plain), (3, plain), (4, rectified), (9, rectified)]:
        confidence, label, _ = labels_of(method, at)
        assert torch.allclose(confidence, scores.amax(1))
        assert torch.equal(label, scores.argmax(1))
    assert not torch.equal(plain.argmax(1), rectified.argmax(1))


@pytest.mark.parametrize(
    ("run", "expected"), [(10, 5), (300, 150), (600, 200), (1000, 200), (2000, 200), (6000, 533), (9000, 800)]
)
def test_rectification_starts_late_enough_and_never_after_half_of_a_short_run(run: int, expected: int) -> None:
    channel = ChannelPlan(name="MR", scheme="zscore", mean=0.0, std=1.0, percentile_00_5=0.0, percentile_99_5=1.0)
    plan = Plan(recipe="test", dimensions=3, channels=(channel,), class_names=("background", "organ"), spacing_mm=None,
                spacing_known=True, patch_size=(16, 16, 16), labeled_per_batch=2, unlabeled_per_batch=2, network="vnet")
    config = resolve(plan, {"method": {"name": "crln"}, "engine": {"steps": run}})
    assert config.method.rectify_start_steps == expected


def test_shares_of_reliable_voxels_are_watched_before_and_after_step_s() -> None:
    method = build(rectify_start_steps=4, threshold=0.6)
    output, opinion = method.teacher(small_batch().unlabeled_image)
    before = (output.logits.softmax(1).amax(1) >= 0.6).float().mean()
    after = ((output.logits + 0.9 * opinion).softmax(1).amax(1) >= 0.6).float().mean()
    for at in (0, 9):
        _, _, watch = labels_of(method, at)
        assert watch["reliable_before"] == before
        assert watch["reliable_after"].item() == pytest.approx(after.item(), abs=1e-4)
        assert "teacher" not in watch


def test_coverage_is_the_share_that_is_learned_and_falls_with_the_threshold() -> None:
    found = [step(build(threshold=tau, drop=["cps"]).eval()).terms for tau in (0.5, 0.7, 0.99)]
    shares = [terms["coverage"].item() for terms in found]
    assert shares[0] == 1
    assert shares == sorted(shares, reverse=True)
    assert shares[2] == 0
    assert found[2]["unlabeled"] == 0
    losses = [terms["unlabeled"].item() for terms in found]
    assert losses == sorted(losses, reverse=True)


def test_student_sees_a_noisy_spliced_view_and_the_teacher_the_weak_one(monkeypatch: pytest.MonkeyPatch) -> None:
    method = build(**LOW)
    seen: dict[str, Tensor] = {}
    for name in ("student", "teacher"):
        getattr(method, name).register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: inputs[0]}))
    batch = small_batch()
    step(method, batch=batch)
    assert torch.equal(seen["teacher"], batch.unlabeled_image)
    assert torch.equal(seen["student"][:2], batch.labeled_image)
    apart = (seen["student"][2:] - batch.unlabeled_image).abs()
    crossed = (seen["student"][2:] - batch.unlabeled_image.flip(0)).abs()
    assert ((apart <= 0.2001) | (crossed <= 0.2001)).all()
    assert (apart > 0).all()
    for drop, largest in [(["noise", "cutmix"], 0.0), (["cutmix"], 0.2001)]:
        method = build(drop=drop)
        method.student.register_forward_pre_hook(lambda _, inputs: seen.update(student=inputs[0]))
        step(method, batch=batch)
        assert (seen["student"][2:] - batch.unlabeled_image).abs().max() <= largest


def test_intensities_of_the_paper_scale_all_scans_before_either_view() -> None:
    method = build(intensity_scale=0.25, drop=["noise", "cutmix"])
    seen: dict[str, Tensor] = {}
    for name in ("student", "teacher"):
        getattr(method, name).register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: inputs[0]}))
    batch = small_batch()
    batch = batch._replace(image=batch.image.sigmoid() / 2)
    step(method, batch=batch)
    factors = (seen["student"] / batch.image).flatten(1)
    assert torch.allclose(factors, factors[:, :1].expand_as(factors), atol=1e-5)
    assert len(factors[:, 0].unique()) == 4
    assert torch.equal(seen["teacher"], seen["student"][2:])


# --- mu --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_mu_stays_in_its_range_whatever_the_step(sign: float) -> None:
    method = build(**NOW)
    optimizer = torch.optim.SGD([method.rectification.strength], lr=100.0, momentum=0.9)
    for at in range(3):
        optimizer.zero_grad()
        (sign * method.rectification.strength).backward()
        optimizer.step()
        method.after_step(progress_at(at))
        assert 0 <= method.rectification.mu <= 1
    assert method.rectification.mu == (0.0 if sign > 0 else 1.0)


def test_first_steps_move_mu_by_its_gradient_and_nothing_else() -> None:
    method = build(**NOW)
    rate = 0.01
    before = method.rectification.mu.item()
    assert before == pytest.approx(0.1)
    train_step(method, optimizers_of(method, lr=rate), small_batch(), progress_at(0))
    gradient = method.rectification.strength.grad.item()
    assert method.rectification.mu.item() == pytest.approx(before - rate * gradient, abs=1e-7)


# --- switches --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("drop", "terms", "watched"),
    [
        ("rectification", {"mu_loss"}, {"mu", "reliable_after"}),
        ("cps", {"cps"}, {"anchors"}),
        ("dim", {"dim", "mu_loss"}, {"mu", "reliable_after", "dim_dice"}),
        ("cutmix", set(), set()),
        ("noise", set(), set()),
    ],
)
def test_what_is_dropped_is_neither_built_nor_logged(drop: str, terms: set[str], watched: set[str]) -> None:
    whole, part = changed(), changed(drop=[drop])
    assert set(whole.terms) - set(part.terms) == terms | watched | {f"{term}_weight" for term in terms}
    assert part.loss != whole.loss
    method = build(drop=[drop])
    assert (method.rectification is None) == (drop in {"rectification", "dim"})
    assert (method.student.interaction is None) == (drop == "dim")
    assert (method.cps is None) == (drop == "cps")


def test_all_can_be_dropped_and_leaves_a_mean_teacher_with_hard_labels() -> None:
    method = build(drop=["dim", "cps", "cutmix", "noise"], **LOW).eval()
    batch = small_batch()
    out = step(method, batch=batch)
    logits = method.student.network(batch.image).logits
    label = method.teacher(batch.unlabeled_image)[0].logits.argmax(1)
    expected = ce_dice(logits[:2], batch.label) + functional.cross_entropy(logits[2:], label)
    assert out.loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        {"rectify": "prob_norm"},
        {"rectify": "prob_raw"},
        {"rectify": "replace"},
        {"rectify": "concat"},
        {"mu_start": 0.9},
        {"prototypes": 4},
        {"proto_std": 0.02},
        {"dim_residual": False},
        {"positive": "mean"},
        {"positive": "proto"},
        {"xi": 0.0},
        {"xi_mode": "uniform"},
        {"temperature": 0.1},
        {"anchors": 16},
        {"negatives": 16},
        {"anchors": 8, "negatives": 8, "per_anchor": True},
        {"cps_hidden": 8},
        {"cps_act": False},
        {"noise": "uniform"},
        {"noise_std": 0.05},
        {"noise_clip": 0.05},
        {"intensity_scale": 0.25},
        {"threshold": 0.55},
        {"weak_threshold": 0.6},
        {"unlabeled_weight": 0.5},
        {"dim_weight": 0.5},
        {"cps_weight": 0.5},
        {"u_rampup_steps": 5},
        {"cps_start_steps": 5},
        {"teacher_mode": "train"},
    ],
    ids=str,
)
def test_every_switch_changes_the_step(config: dict[str, Any]) -> None:
    def loss(**settings: Any) -> float:
        torch.manual_seed(0)
        return step(build(**{**NOW, **LOW, **settings})).loss.item()

    assert loss(**config) != loss()


def test_uniform_noise_has_its_amplitude() -> None:
    one, other = (step(build(noise="uniform", noise_amplitude=size, **LOW)).loss for size in (0.2, 0.4))
    assert one != other


def test_sigmoid_of_mu_starts_where_the_raw_one_does() -> None:
    raw, curved = (build(mu_param=kind).rectification for kind in ("raw", "sigmoid"))
    assert raw.mu.item() == pytest.approx(curved.mu.item(), abs=1e-6)
    assert raw.strength.item() != pytest.approx(curved.strength.item(), abs=0.1)


def test_ramp_and_start_of_the_supervision_count_steps() -> None:
    method = build(u_rampup_steps=8, cps_start_steps=5)
    weights = [step(method, at=at).terms for at in (0, 4, 5, 8)]
    ramp = [terms["unlabeled_weight"].item() for terms in weights]
    assert ramp[0] == pytest.approx(0.0067, abs=1e-4)
    assert ramp == sorted(ramp)
    assert ramp[-1] == 1
    assert [terms["cps_weight"].item() for terms in weights] == [0, 0, 1, 1]


def test_larger_moving_average_moves_the_teacher_less() -> None:
    moved = []
    for decay in (0.5, 0.99):
        method = build(ema_decay=decay)
        optimizers = optimizers_of(method)
        for at in range(3):
            train_step(method, optimizers, small_batch(at), progress_at(at))
        moved.append((method.teacher.network.prototypes - method.student.prototypes).abs().sum().item())
    assert moved[0] < moved[1]


def test_teacher_mode_says_whose_statistics_it_uses() -> None:
    running, own = (build(teacher_mode=mode).teacher for mode in ("eval", "train"))
    assert isinstance(running, EmaTeacher)
    assert (running.training, running.copy_buffers) == (False, True)
    assert (own.training, own.copy_buffers) == (True, False)


# --- what is deployed and observed -----------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["student", "teacher"])
def test_deployed_is_the_chosen_network_without_rectification(which: str) -> None:
    method = build(predict_with=which, **NOW)
    with torch.no_grad():
        for parameter in method.teacher.parameters():
            parameter.mul_(1.1)
    method.eval()
    image = small_batch().image
    chosen = method.student.network if which == "student" else method.teacher.network.network
    assert torch.equal(method.predictor().eval()(image), chosen(image).logits.softmax(1))


def test_observed_are_the_rectified_and_the_plain_teacher_and_the_map() -> None:
    method = build(mu_start=0.4).eval()
    image = small_batch().image
    output, opinion = method.teacher(image)
    found = {name: module(image) for name, module in method.observed().items()}
    assert set(found) == {"pseudo_label", "teacher", "dim"}
    assert torch.allclose(found["pseudo_label"], (output.logits + 0.6 * opinion).softmax(1), atol=1e-6)
    assert torch.allclose(found["teacher"], output.logits.softmax(1), atol=1e-6)
    assert torch.allclose(found["dim"], method.student(image)[1].softmax(1), atol=1e-6)
    bare = build(drop=["dim"]).eval()
    assert set(bare.observed()) == {"pseudo_label"}
    assert set(build(drop=["rectification"]).observed()) == {"pseudo_label", "dim"}
    assert torch.allclose(bare.observed()["pseudo_label"](image), bare.teacher(image)[0].logits.softmax(1), atol=1e-6)


# --- sizes and shapes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["vnet", "unet3d"])
def test_published_number_of_parameters(network: str) -> None:
    task = Task(dimensions=3, channels=1, classes=2, labeled_cases=8)
    make_network = network_factory(network, task=task)
    method = CRLN(CRLNConfig(), make_network, task)
    student = sum(parameter.numel() for parameter in method.parameters() if parameter.requires_grad)
    alone = sum(parameter.numel() for parameter in method.predictor().parameters())
    assert alone == {"vnet": 9_448_866, "unet3d": 5_884_050}[network]
    assert student - alone == 27_777 + 2_048 + 16_032 + 1
    teacher = sum(parameter.numel() for parameter in method.teacher.parameters())
    assert teacher == student - 16_032 - 1


def test_network_without_decoder_maps_is_refused() -> None:
    task = Task(dimensions=3, channels=1, classes=2, labeled_cases=8)

    def make_network() -> torch.nn.Module:
        return torch.nn.Conv3d(1, 2, 1)

    with pytest.raises(UsageError, match="crln"):
        CRLN(CRLNConfig(), make_network, task)


@pytest.mark.parametrize("labeled", [1, 3])
def test_numbers_of_labeled_and_unlabeled_samples_may_differ(labeled: int) -> None:
    batch = make_batch(labeled=labeled, unlabeled=4 - labeled)
    assert batch.image.shape[2:] == SIDES
    assert torch.isfinite(step(build(**NOW, **LOW), batch=batch).loss)


@pytest.mark.parametrize("labels", ["all background", "all foreground"])
def test_absent_classes_keep_all_finite(labels: str) -> None:
    batch = small_batch()
    batch = batch._replace(label=torch.full_like(batch.label, int(labels == "all foreground")))
    method = build(**NOW)
    out = step(method, batch=batch)
    out.loss.backward()
    assert all(torch.isfinite(value) for value in out.terms.values())
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)


def test_step_of_channels_last_equals_that_of_channels_first() -> None:
    losses = []
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        method = build(**NOW, **LOW).eval()
        for tensor in (*method.parameters(), *method.buffers()):
            if tensor.dim() == 5:
                tensor.data = tensor.data.to(memory_format=layout)
        batch = small_batch()
        losses.append(step(method, batch=batch._replace(image=batch.image.to(memory_format=layout))).loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
