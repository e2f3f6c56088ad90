from __future__ import annotations

import numpy as np
import pytest
import torch
from method_material import make_batch, make_method, optimizers_of, progress_at, train_step
from scipy import ndimage
from torch import Tensor, nn

from semivox.errors import UsageError
from semivox.losses.discrepancy import discrepancy
from semivox.methods.cml import CML, CMLConfig
from semivox.networks import network_factory
from semivox.networks.output import Output
from semivox.types import Batch, Task

PRETRAIN = progress_at(0, stage="pretrain")
SELFTRAIN = progress_at(0, stage="selftrain")


class Tiny(nn.Module):
    """Logit of the foreground ``weight * (intensity - 1/2)``, features ``(side, intensity)``; notes its input."""

    def __init__(self, weight: float, side: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.side = nn.Parameter(torch.tensor(side))
        self.encoder_widths = (2,)
        self.images: list[Tensor] = []

    def forward(self, image: Tensor) -> Output:
        self.images.append(image.detach())
        foreground = self.weight * (image - 0.5)
        features = torch.cat([self.side * torch.ones_like(image), image], 1)
        return Output(torch.cat([torch.zeros_like(foreground), foreground], 1), (features,), ())


def tiny(weights: tuple[float, float] = (3.0, -2.0), **config: object) -> CML:
    """Network 1 says the opposite of network 0."""
    made = iter([Tiny(weights[0], 1.0), Tiny(weights[1], -0.5)])
    task = Task(dimensions=2, channels=1, classes=2, labeled_cases=2)
    return CML(CMLConfig(**config), lambda decoder=None: next(made), task)


def tiny_batch() -> Batch:
    torch.manual_seed(1)
    image = torch.rand(4 + 4, 1, 6, 8)
    return Batch(image, (torch.rand(4, 6, 8) < 0.4).long(), torch.arange(8))


def step(method: CML, progress=SELFTRAIN, batch: Batch | None = None):
    torch.manual_seed(5)
    return method(batch or tiny_batch(), progress)


def box_of(images: Tensor, mixed: Tensor) -> np.ndarray:
    """Where a mixed image (first half, second half) shows the second half."""
    half = len(images) // 2
    return (mixed == images[half:]).all(0).all(0).numpy()


# --- the equations, in plain NumPy -----------------------------------------------------------------------------


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    return exponents / exponents.sum(1, keepdims=True)


def ell(logits: np.ndarray, label: np.ndarray) -> float:
    """Half the mean cross-entropy and half the mean Dice over samples and classes, background included."""
    probs, entropy, dices = softmax(logits), [], []
    for b in range(len(label)):
        entropy += [-np.log(probs[b, label[b][voxel]][voxel]) for voxel in np.ndindex(*label[b].shape)]
        for k in range(probs.shape[1]):
            mask = label[b] == k
            dices.append((2 * probs[b, k][mask].sum() + 1e-5) / (probs[b, k].sum() + mask.sum() + 1e-5))
    return (np.mean(entropy) + 1 - np.mean(dices)) / 2


def d(f: np.ndarray, g: np.ndarray) -> float:
    return 1 + np.mean((f * g).sum(1) / np.linalg.norm(f, axis=1) / np.linalg.norm(g, axis=1))


def logits_of(weight: float, image: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros_like(image), weight * (image - 0.5)], 1)


def features_of(side: float, image: np.ndarray) -> np.ndarray:
    return np.concatenate([np.full_like(image, side), image], 1)


def largest(label: np.ndarray) -> np.ndarray:
    components, _ = ndimage.label(label, structure=np.ones((3, 3)))
    return (components == np.bincount(components.ravel())[1:].argmax() + 1).astype(int) if label.any() else label


def test_losses_are_the_equations() -> None:
    method, batch = tiny(dis_weight=0.3, unlabeled_weight=0.7), tiny_batch()
    out = step(method, batch=batch)
    image, unlabeled = batch.labeled_image.numpy().astype(float), batch.unlabeled_image.numpy().astype(float)
    clean, mixed_l, mixed_u = (seen for seen in method.first.images)
    box, box_u = box_of(batch.labeled_image, mixed_l), box_of(batch.unlabeled_image, mixed_u)
    assert (box.sum(), box_u.sum()) == (4 * 5, 4 * 5)  # int(2/3 * 6), int(2/3 * 8)
    assert torch.equal(clean, batch.unlabeled_image)

    def mix(a, b, mask):
        return np.where(mask, b, a)

    x_l, x_u = mix(image[:2], image[2:], box), mix(unlabeled[:2], unlabeled[2:], box_u)
    y_l = mix(batch.label[:2].numpy(), batch.label[2:].numpy(), box)
    labels = [np.stack([largest(one) for one in logits_of(w, unlabeled).argmax(1)]) for w in (3.0, -2.0)]
    targets = [mix(labels[1][:2], labels[0][2:], box_u), mix(labels[0][:2], labels[1][2:], box_u)]
    supervised = ell(logits_of(3.0, x_l), y_l) + ell(logits_of(-2.0, x_l), y_l)
    taught = ell(logits_of(3.0, x_u), targets[0]) + ell(logits_of(-2.0, x_u), targets[1])
    conflict = sum(d(features_of(a, x), features_of(b, x)) for x in (x_l, x_u) for a, b in ((1, -0.5), (-0.5, 1)))

    assert out.terms["supervised"].item() == pytest.approx(supervised, rel=1e-5)
    assert out.terms["unlabeled"].item() == pytest.approx(taught, rel=1e-5)
    assert out.terms["dis"].item() == pytest.approx(conflict, rel=1e-5)
    assert out.loss.item() == pytest.approx(supervised + 0.7 * taught + 0.3 * conflict, rel=1e-5)
    assert out.terms["agreement"].item() == pytest.approx(np.mean(labels[0] == labels[1]))
    assert out.terms["pseudo_foreground"].item() == pytest.approx(np.mean(labels))


def test_pretraining_is_the_labeled_part_alone() -> None:
    method, batch = tiny(), tiny_batch()
    out = step(method, PRETRAIN, batch)
    assert set(out.terms) == {"supervised", "dis", "dis_weight"}
    assert [len(seen) for seen in method.first.images] == [2]
    other = batch._replace(image=torch.cat([batch.labeled_image, torch.full((4, 1, 6, 8), torch.nan)]))
    assert torch.equal(step(tiny(), PRETRAIN, other).loss, out.loss)


def test_a_step_shows_each_network_two_four_and_two_samples() -> None:
    method = tiny()
    step(method)
    for network in (method.first, method.second):
        assert sorted(len(seen) for seen in network.images) == [2, 2, 4]


# --- targets ---------------------------------------------------------------------------------------------------


def labels_of(method: CML, image: Tensor) -> list[Tensor]:
    """The pseudo-labels of both networks."""
    found = [network(image).logits.argmax(1).numpy() for network in method.peers]
    return [torch.from_numpy(np.stack([largest(one) for one in labels])) for labels in found]


def targets_of(method: CML, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    seen = []
    teach = "semivox.methods.cml._teach"
    monkeypatch.setattr(teach, lambda view, first, second: seen.append((first, second)) or view[0].logits.sum())
    step(method)
    return max(seen, key=lambda pair: not torch.equal(*pair)) if len(seen) > 1 else seen[0]


def test_inside_the_box_a_network_teaches_itself_and_outside_its_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch = tiny(), tiny_batch()
    first, second = targets_of(method, monkeypatch)
    swapped = targets_of(tiny(weights=(-2.0, 3.0)), monkeypatch)
    box = torch.from_numpy(box_of(batch.unlabeled_image, method.first.images[-1]))
    labels = labels_of(method, batch.unlabeled_image)
    for mine, own, peer in ((first, labels[0], labels[1]), (second, labels[1], labels[0])):
        assert torch.equal(mine[:, box], own[2:, box].long())
        assert torch.equal(mine[:, ~box], peer[:2, ~box].long())
    assert torch.equal(swapped[0], second)
    assert torch.equal(swapped[1], first)


def test_equal_pseudo_labels_make_equal_targets() -> None:
    out = step(tiny(weights=(3.0, 2.0)))  # both say foreground above 1/2
    assert out.terms["agreement"] == 1
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semivox.methods.cml._teach", lambda v, a, b: seen.append((a, b)) or v[0].logits.sum())
        step(tiny(weights=(3.0, 2.0)))
    assert all(torch.equal(a, b) for a, b in seen)


# --- who learns from what --------------------------------------------------------------------------------------


def gradient_sizes(loss: Tensor, module: nn.Module) -> list[float]:
    grads = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True, retain_graph=True)
    return [0.0 if grad is None else grad.abs().sum().item() for grad in grads]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_conflict_teaches_both_encoders_and_no_decoder(dimensions: int) -> None:
    method = make_method("cml", dimensions=dimensions, dropout=0.0)
    batch = make_batch(dimensions)
    view = method._look_at(batch.image, None)
    conflict = method._conflict(view)["dis"][1]
    for network in method.peers:
        assert any(gradient_sizes(conflict, network.encoder))
        assert not any(gradient_sizes(conflict, network.decoder))
    one_sided = discrepancy(view[0].encoder[-1], view[1].encoder[-1])
    assert any(gradient_sizes(one_sided, method.first.encoder))
    assert not any(gradient_sizes(one_sided, method.second))


def test_no_gradient_comes_from_the_pseudo_labels() -> None:
    method, batch = tiny(drop=("dis",)), tiny_batch()
    graphs = []
    for network in method.peers:
        network.register_forward_hook(lambda module, inputs, out: graphs.append(out.logits.requires_grad))
    image = batch.image.clone().requires_grad_()
    step(method, batch=batch._replace(image=image)).loss.backward()
    assert sorted(graphs) == [False] * 2 + [True] * 4
    box = box_of(batch.unlabeled_image, method.first.images[-1])
    seen = image.grad[4:].abs().sum(1).numpy() > 0  # only what was shown in a mixed image
    assert not seen[:2, box].any()
    assert not seen[2:, ~box].any()
    assert seen[:2, ~box].all()
    assert seen[2:, box].all()


def test_each_loss_reaches_its_own_network() -> None:
    method = tiny(drop=("dis",))
    out = step(method)
    assert all(size > 0 for network in method.peers for size in gradient_sizes(out.loss, network)[:1])
    before = step(method).terms["supervised"].item()
    with torch.no_grad():
        method.second.weight += 1.0
    assert step(method).terms["supervised"].item() != before


# --- networks --------------------------------------------------------------------------------------------------


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def full(name: str, dimensions: int, classes: int, **config: object) -> CML:
    task = Task(dimensions, 1, classes, 4)
    return CML(CMLConfig(**config), network_factory(name, task=task), task)


def test_parameters_are_those_of_the_literature() -> None:
    left_atrium, cardiac = full("vnet", 3, 2), full("unet2d", 2, 4)
    assert count(left_atrium) == 19_724_612
    assert (count(left_atrium.first), count(left_atrium.second)) == (9_448_866, 7_376_896 + 2_898_850)
    assert count(cardiac) == 3_758_088
    assert (count(cardiac.first.decoder), count(cardiac.second.decoder)) == (633_300, 763_860)
    assert count(full("unet2d", 2, 4, shared_debug=True)) == 2_577_624


@pytest.mark.parametrize("name", ["vnet", "unet3d", "unet2d"])
def test_peers_share_nothing_and_start_differently(name: str) -> None:
    task = Task(2 if name == "unet2d" else 3, 1, 2, 4)
    method = CML(CMLConfig(), network_factory(name, task=task, width=4), task)
    first, second = ({tensor.data_ptr() for tensor in network.parameters()} for network in method.peers)
    assert not first & second
    weights = [next(network.parameters()) for network in method.peers]
    assert not torch.equal(*weights)


def test_decoders_are_of_two_kinds_whatever_is_configured() -> None:
    task = Task(3, 1, 2, 4)
    for configured in ("deconv", "trilinear"):
        peers = CML(CMLConfig(), network_factory("vnet", task=task, width=4, decoder=configured), task).peers
        kinds = [any(isinstance(part, nn.ConvTranspose3d) for part in network.modules()) for network in peers]
        assert kinds == [configured == "deconv", configured != "deconv"]


class Featureless(nn.Module):
    """Logits only."""

    def __init__(self, decoder: str | None = None) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 2, 1)

    def forward(self, image: Tensor) -> Output:
        return Output(self.layer(image), (), ())


def test_a_network_without_encoder_maps_is_refused_unless_the_conflict_is_dropped() -> None:
    task = Task(2, 1, 2, 4)
    with pytest.raises(UsageError, match="which cml learns from"):
        CML(CMLConfig(), Featureless, task)
    assert torch.isfinite(step(CML(CMLConfig(drop=("dis",)), Featureless, task)).loss)
    with pytest.raises(UsageError, match="no encoder and decoder to share"):
        CML(CMLConfig(drop=("dis",), shared_debug=True), Featureless, task)


# --- switches --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fuse", ["probabilities", "logits"])
def test_fuse_decides_what_is_averaged(fuse: str) -> None:
    method, image = tiny(fuse=fuse), torch.full((1, 1, 2, 2), 1.0)
    predictor = method.predictor()
    logits = [np.array([0, 1.5]), np.array([0, -1.0])]
    mean = softmax(np.mean(logits, 0)[None]) if fuse == "logits" else softmax(np.stack(logits)).mean(0)[None]
    np.testing.assert_allclose(predictor(image)[:, :, 0, 0].detach().numpy(), mean, rtol=1e-6)


def test_what_is_observed_are_the_filtered_labels_of_each_network() -> None:
    method, image = tiny(), torch.full((1, 1, 2, 5), 1.0)
    image[..., 3] = -1.0  # network 0 says foreground where the image is positive, network 1 where it is negative
    seen = {name: module(image) for name, module in method.observed().items()}
    first, second = torch.zeros(2, 5), torch.zeros(2, 5)
    first[:, :3], second[:, 3] = 1.0, 1.0  # the smaller part of the first, beyond the gap, is filtered
    assert torch.equal(seen["pseudo_label"][0, 1], first)
    assert torch.equal(seen["peer_label"][0, 1], second)
    assert all(torch.equal(labels.sum(1), torch.ones(1, 2, 5)) for labels in seen.values())


def test_test_lcc_is_what_the_run_asks_of_its_predictions() -> None:
    assert not CMLConfig().largest_component
    assert CMLConfig(test_lcc=True).largest_component


@pytest.mark.parametrize("deployed", [False, True])
def test_pl_eval_mode_decides_about_dropout_and_statistics_of_the_pseudo_labels(deployed: bool) -> None:
    batch = make_batch()
    counts = {}
    for drop in ((), ("unlabeled",)):
        method = make_method("cml", pl_eval_mode=deployed, drop=drop)
        modes = [module.training for module in method.modules()]
        method(batch, SELFTRAIN)
        assert [module.training for module in method.modules()] == modes
        counts[drop] = next(int(b) for n, b in method.first.named_buffers() if n.endswith("num_batches_tracked"))
    assert counts == {(): 2 if deployed else 3, ("unlabeled",): 2}


def test_dis_flatten_takes_one_cosine_for_each_sample() -> None:
    positions, flat = (step(tiny(dis_flatten=flatten)).terms for flatten in (False, True))
    assert positions["dis"].item() != pytest.approx(flat["dis"].item(), rel=1e-4)
    assert torch.equal(positions["supervised"], flat["supervised"])


@pytest.mark.parametrize("per_sample", [False, True])
def test_mask_per_sample_gives_each_mixed_image_its_own_box(per_sample: bool) -> None:
    method, batch = tiny(mask_per_sample=per_sample), tiny_batch()
    step(method, PRETRAIN, batch)
    shown = [(mixed == pasted)[0] for mixed, pasted in zip(method.first.images[0], batch.image[2:4], strict=True)]
    assert [int(box.sum()) for box in shown] == [20, 20]
    assert torch.equal(*shown) is not per_sample


def test_labeled_and_unlabeled_boxes_are_drawn_apart() -> None:
    method, batch = tiny(), tiny_batch()
    step(method, batch=batch)
    _, labeled, unlabeled = method.first.images
    assert (box_of(batch.labeled_image, labeled) != box_of(batch.unlabeled_image, unlabeled)).any()


def test_shared_debug_asks_one_network_twice_and_leaves_a_decoder_unused() -> None:
    method = make_method("cml", dimensions=2, dropout=0.5, shared_debug=True)
    assert method.peers[0] is method.peers[1]
    optimizers = optimizers_of(method)
    before = [parameter.clone() for parameter in method.second.parameters()]
    out = train_step(method, optimizers, make_batch(2), SELFTRAIN)["main"]
    assert torch.isfinite(out.loss)
    assert all(torch.equal(a, b) for a, b in zip(before, method.second.parameters(), strict=True))
    assert not any(parameter.requires_grad for parameter in method.second.parameters())
    same = make_method("cml", dimensions=2, dropout=0.0, shared_debug=True)
    assert same(make_batch(2), SELFTRAIN).terms["agreement"] == 1  # without dropout both are one
    image = make_batch(2).image
    method.eval()
    seen = {name: module(image) for name, module in method.observed().items()}
    assert torch.equal(seen["pseudo_label"], seen["peer_label"])


# --- ablation --------------------------------------------------------------------------------------------------


def test_zero_weights_leave_two_networks_supervised_apart() -> None:
    batch = tiny_batch()
    both = tiny(unlabeled_weight=0.0, dis_weight=0.0)
    loss = step(both, batch=batch).loss
    assert torch.equal(loss, step(tiny(drop=("dis", "unlabeled")), batch=batch).loss)
    grads = torch.autograd.grad(loss, [both.first.weight, both.second.weight])
    moved = tiny(weights=(3.0, 7.0), unlabeled_weight=0.0, dis_weight=0.0)  # the peer does not matter
    assert torch.equal(torch.autograd.grad(step(moved, batch=batch).loss, moved.first.weight)[0], grads[0])


@pytest.mark.parametrize(("drop", "shown"), [
    ((), [2, 2, 4]), (("dis",), [2, 2, 4]), (("unlabeled",), [2, 2]), (("dis", "unlabeled"), [2]),
    (("cutmix",), [4, 4, 4]), (("cutmix", "dis", "unlabeled"), [4]),
])
def test_what_is_dropped_is_not_computed(drop: tuple[str, ...], shown: list[int]) -> None:
    method = tiny(drop=drop)
    terms = step(method).terms
    assert sorted(len(seen) for seen in method.first.images) == shown
    assert ("dis" in terms) is ("dis" not in drop)
    assert ("unlabeled" in terms) is ("unlabeled" not in drop) is ("agreement" in terms)


def test_without_cutmix_each_network_learns_the_peers_labels_of_whole_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch = tiny(drop=("cutmix",)), tiny_batch()
    labels = labels_of(method, batch.unlabeled_image)
    first, second = targets_of(method, monkeypatch)
    assert torch.equal(first, labels[1].long())
    assert torch.equal(second, labels[0].long())
    assert all(torch.equal(seen, batch.unlabeled_image) for seen in method.first.images[1:2])


# --- stages and profiles ---------------------------------------------------------------------------------------


def test_stages_are_pretraining_at_a_constant_rate_and_selftraining() -> None:
    pretrain, selftrain = CML.stages(CMLConfig())
    assert (pretrain.name, selftrain.name) == ("pretrain", "selftrain")
    assert (pretrain.schedule, selftrain.schedule) == ("constant", None)
    assert (round(17000 * pretrain.share), round(17000 * selftrain.share)) == (2000, 15000)
    assert CML.stages(CMLConfig(pretrain_share=0.2))[0].share == 0.2
    assert pretrain.pick == "last"
    picked = CML.stages(CMLConfig(pretrain_pick="best_validation"))
    assert [stage.pick for stage in picked] == ["best_validation", "last"]
    assert [stage.name for stage in CML.stages(CMLConfig(pretrain_share=0.0))] == ["selftrain"]


def test_profiles_are_the_papers_choices() -> None:
    assert CML.profiles["paper"] == {"optimizer.schedule": "constant"}
    assert CML.profiles["released"] == {
        "optimizer.schedule": "step", "method.fuse": "logits", "method.test_lcc": True,
    }


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("stage", ["pretrain", "selftrain"])
def test_both_stages_train_every_network(stage: str, dimensions: int) -> None:
    method = make_method("cml", dimensions=dimensions, classes=4, dropout=0.5)
    before = {name: parameter.clone() for name, parameter in method.named_parameters()}
    train_step(method, optimizers_of(method), make_batch(dimensions, 4), progress_at(0, stage=stage))
    still = {name for name, parameter in method.named_parameters() if torch.equal(parameter, before[name])}
    assert not {name for name in still if name.endswith("weight")}


def test_labels_without_foreground_give_finite_losses_and_gradients() -> None:
    method = make_method("cml", classes=4)
    batch = make_batch(classes=4)
    out = method(batch._replace(image=torch.zeros_like(batch.image), label=torch.zeros_like(batch.label)), SELFTRAIN)
    out.loss.backward()
    assert torch.isfinite(out.loss)
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)
