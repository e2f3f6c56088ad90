from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from method_material import make_batch, make_method, progress_at, train
from torch import Tensor, nn

from semivox.components.attention import CrossSampleAttention
from semivox.errors import UsageError
from semivox.methods import caml
from semivox.methods.caml import CAML, CAMLConfig
from semivox.networks import network_factory
from semivox.networks.output import Output
from semivox.types import Batch, Task

SMALL = {"prototypes_per_class": 4, "rows_per_class": 6, "bank_cap": 60, "embed_dim": 3}


class Tiny(nn.Module):
    """A network that exposes what CAML needs and costs nothing: x4 at a quarter of the size, then a finest map."""

    encoder_widths = (2, 2, 2, 8, 8)
    decoder_widths = (2, 2, 2, 4)

    def __init__(self, classes: int = 3, mid: nn.Module | None = None, decoder: str | None = None) -> None:
        super().__init__()
        self.mid, self.decoder = mid, decoder
        self.deep = nn.Conv2d(1, 8, 4, stride=4)
        self.fine = nn.Conv2d(1, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 4, 4, stride=4)
        self.out = nn.Conv2d(4, classes, 1)

    def forward(self, image: Tensor) -> Output:
        deep = self.deep(image)
        deep = deep if self.mid is None else self.mid(deep)
        finest = torch.tanh(self.fine(image) + self.up(deep))
        return Output(4 * self.out(finest).float(), (deep,), (finest,))


def tiny(*, classes: int = 3, **config: Any) -> CAML:
    task = Task(dimensions=2, channels=1, classes=classes, labeled_cases=3)
    torch.manual_seed(1)
    method = CAML(CAMLConfig(**(SMALL | config)), lambda **overrides: Tiny(classes, **overrides), task)
    return method.eval()  # running statistics, no attention: a sample's answer is its own


def tiny_batch(*, classes: int = 3, cases: tuple[int, ...] = (0, 2, 7, 9)) -> Batch:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(4, 1, 8, 8, generator=generator)
    label = torch.randint(0, classes, (2, 8, 8), generator=generator)
    return Batch(image, label, torch.tensor(cases))


def answers(method: CAML, batch: Batch) -> tuple[Tensor, Tensor]:
    """Class that each network gives each voxel, before a step changes anything."""
    with torch.no_grad():
        return method.vanilla(batch.image).logits.argmax(1), method.auxiliary(batch.image).logits.argmax(1)


def spy(monkeypatch: pytest.MonkeyPatch, target: Any, name: str) -> list[tuple[tuple, Any]]:
    """Record the arguments and the result of each call."""
    calls: list[tuple[tuple, Any]] = []
    real = getattr(target, name)

    def record(*arguments: Any, **settings: Any) -> Any:
        result = real(*arguments, **settings)
        calls.append((arguments, result))
        return result

    monkeypatch.setattr(target, name, record)
    return calls


def reached(method: CAML, batch: Batch | None = None) -> dict[str, bool]:
    """Which parts get a gradient from one step."""
    method.zero_grad()
    torch.manual_seed(3)
    method(batch or tiny_batch(), progress_at(9)).loss.backward()
    parts = {name: part for name, part in method.named_children() if list(part.parameters())}
    gradients = {name: [p.grad for p in part.parameters() if p.grad is not None] for name, part in parts.items()}
    return {name: any(gradient.abs().sum() > 0 for gradient in some) for name, some in gradients.items()}


# --- the loss --------------------------------------------------------------------------------------------------


def slow_dice(probs: np.ndarray, label: np.ndarray) -> float:
    """Foreground Dice loss over the whole batch; (B, K, V) and (B, V)."""
    losses = []
    for number in range(1, probs.shape[1]):
        overlap = predicted = true = 0.0
        for sample in range(len(probs)):
            for voxel in range(probs.shape[2]):
                p, y = probs[sample, number, voxel], float(label[sample, voxel] == number)
                overlap, predicted, true = overlap + p * y, predicted + p, true + y
        losses.append(1 - (2 * overlap + 1e-8) / (predicted + true + 1e-8))
    return sum(losses) / len(losses)


def slow_cross(p_v: np.ndarray, p_a: np.ndarray) -> float:
    def sh(q: float) -> float:
        return q**10 / (q**10 + (1 - q) ** 10)

    pairs = list(zip(p_v.flatten().tolist(), p_a.flatten().tolist(), strict=True))
    return sum((v - sh(a)) ** 2 + (a - sh(v)) ** 2 for v, a in pairs) / len(pairs)


def slow_occ(q_v: np.ndarray, q_a: np.ndarray, prototypes: np.ndarray, *, cosine: bool) -> float:
    def row(q: np.ndarray) -> np.ndarray:
        values = np.array([q @ z / (np.linalg.norm(q) * np.linalg.norm(z) if cosine else 1.0) for z in prototypes])
        values = np.exp(10 * values - (10 * values).max())
        return values / values.sum()

    return sum(-(row(a) * np.log(row(v) + 1e-8)).sum() for v, a in zip(q_v, q_a, strict=True)) / len(q_v)


def sure_voxels(p_v: np.ndarray, p_a: np.ndarray, limit: int) -> list[tuple[int, int]]:
    """(sample, voxel) of the unlabeled voxels on which both agree, the surest of each class, by sorting."""
    chosen = []
    for number in range(p_v.shape[1]):
        mine = [
            (-p_v[sample, number, voxel], sample, voxel)
            for sample in range(2, 4)
            for voxel in range(p_v.shape[2])
            if p_v[sample, :, voxel].argmax() == p_a[sample, :, voxel].argmax() == number
        ]
        if len(mine) > 1:
            chosen += [(sample, voxel) for _, sample, voxel in sorted(mine)[:limit]]
    return chosen


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_loss_is_the_equation_worked_out_voxel_by_voxel(monkeypatch: pytest.MonkeyPatch, similarity: str) -> None:
    method, batch = tiny(occ_sim=similarity, rampup_steps=100, occ_weight=0.3), tiny_batch()
    drawn = spy(monkeypatch, method.bank, "draw")
    out = method(batch, progress_at(40))

    with torch.no_grad():
        outputs = method.vanilla(batch.image), method.auxiliary(batch.image)
    p_v, p_a = (output.logits.double().softmax(1).flatten(2).numpy() for output in outputs)
    label = batch.label.flatten(1).numpy()
    prototypes, given = drawn[0][1]
    voxels = sure_voxels(p_v, p_a, 6)
    assert len(voxels) > 6
    assert given.any()
    queries = []
    for head, output in zip((method.vanilla_head, method.auxiliary_head), outputs, strict=True):
        rows = torch.stack([output.decoder[-1].flatten(2)[sample, :, voxel] for sample, voxel in voxels])
        projected = head.projection(rows, None)  # in evaluation the heads use the running statistics
        queries.append(head.prediction(projected, None).detach().double().numpy())

    supervised = slow_dice(p_v[:2], label) + slow_dice(p_a[:2], label)
    cross = slow_cross(p_v, p_a)
    occ = slow_occ(*queries, prototypes[given].double().numpy(), cosine=similarity == "cosine")
    ramp = math.exp(-5 * 0.6**2)
    assert out.terms["supervised"].item() == pytest.approx(supervised, rel=1e-4)
    assert out.terms["cross"].item() == pytest.approx(cross, rel=1e-4)
    assert out.terms["occ"].item() == pytest.approx(occ, rel=1e-3)
    assert out.terms["occ_rows"] == len(voxels)
    assert out.loss.item() == pytest.approx(0.5 * supervised + ramp * cross + 0.3 * ramp * occ, rel=1e-3)


def test_networks_that_are_alike_have_the_entropy_of_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    method = tiny()
    method.auxiliary.load_state_dict(method.vanilla.state_dict(), strict=False)
    method.auxiliary_head.load_state_dict(method.vanilla_head.state_dict())
    losses = spy(monkeypatch, caml, "omni_correlation")
    out = method(tiny_batch(), progress_at(9))
    queries, targets, counted, compare = losses[0][0]
    assert torch.equal(queries, targets)
    entropy = torch.special.entr(compare(queries[counted]).detach()).sum(1).mean()
    assert out.terms["occ"].item() == pytest.approx(entropy.item(), abs=1e-5)


def test_rows_are_distributions_over_the_classes_that_have_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch = tiny(), tiny_batch()
    rows, drawn = spy(monkeypatch, caml, "correlation_rows"), spy(monkeypatch, method.bank, "draw")
    out = method(batch, progress_at(9))
    enough = int((method.bank.counts.sum(1) >= 4).sum())
    assert drawn[0][1][1].sum() == 4 * enough
    assert len(rows) == 2
    for _, found in rows:
        assert (found >= 0).all()
        torch.testing.assert_close(found.sum(1), torch.ones(len(found)))
        assert ((found > 0).sum(1) <= 4 * enough).all()
    assert out.terms["occ_rows"] <= 6 * 3


def test_cross_supervision_vanishes_where_both_say_the_same_for_certain() -> None:
    method = tiny()
    certain = nn.functional.one_hot(tiny_batch().label, 3).movedim(-1, 1).float()
    assert method._follow(certain.log(), certain, certain) == 0


def test_weights_ramp_from_a_hundredth_part_to_their_values_in_stairs_where_asked() -> None:
    smooth, stairs = tiny(rampup_steps=300), tiny(rampup_steps=300, ramp_staircase=150)
    batch = tiny_batch()
    start, end = (smooth(batch, progress_at(step, 1000)).terms for step in (0, 300))
    for name, weight in (("cross", 1.0), ("occ", 0.05)):
        assert start[f"{name}_weight"].item() == pytest.approx(math.exp(-5) * weight, rel=1e-5)
        assert end[f"{name}_weight"].item() == pytest.approx(weight)
    weights = [stairs(batch, progress_at(step, 1000)).terms["cross_weight"].item() for step in (0, 149, 150, 299, 300)]
    assert weights[0] == weights[1] < weights[2] == weights[3] < weights[4]


# --- the bank --------------------------------------------------------------------------------------------------


def test_bank_holds_voxels_that_both_get_right_with_their_labels_for_this_batchs_labeled_cases() -> None:
    method, batch = tiny(), tiny_batch(cases=(2, 0, 7, 9))
    first, second = answers(method, batch)
    with torch.no_grad():
        maps = method.vanilla(batch.image).decoder[-1], method.auxiliary(batch.image).decoder[-1]
    method(batch, progress_at(9))
    assert method.bank.capacity == 20
    assert method.bank.counts[:, 1].sum() == 0  # case 1 is not in the batch
    for sample, case in enumerate((2, 0)):
        right = (first[sample] == second[sample]) & (first[sample] == batch.label[sample])
        first_rows, second_rows = (features[sample].movedim(0, -1) for features in maps)
        keys = method.vanilla_head.remembered(first_rows) + method.auxiliary_head.remembered(second_rows)
        mean = (keys / 2).half()
        for number in range(3):
            mine = right & (batch.label[sample] == number)
            assert method.bank.counts[number, case] == mine.sum()
            stored = method.bank.slots[number, case, : min(20, int(mine.sum()))]
            distance = torch.cdist(stored.float(), mean[mine].float()) if len(stored) else torch.zeros(0, 1)
            assert (distance.min(1).values < 1e-3).all()  # each is the key of a right voxel of its class


def test_other_cases_keep_their_slots() -> None:
    method = tiny()
    method(tiny_batch(cases=(0, 1, 7, 9)), progress_at(9))
    before, counts = method.bank.slots[:, 1].clone(), method.bank.counts[:, 1].clone()
    fill = method.bank.fill().clone()
    out = method(tiny_batch(cases=(0, 2, 7, 9)), progress_at(9))
    assert torch.equal(method.bank.slots[:, 1], before)
    assert torch.equal(method.bank.counts[:, 1], counts)
    assert out.terms["bank_fill"] == method.bank.fill() > fill


def test_no_gradient_reaches_the_labeled_images_through_the_bank() -> None:
    method, batch = tiny(supervised_weight=0.0, cross_weight=0.0), tiny_batch()
    image = batch.image.requires_grad_()
    method(batch._replace(image=image), progress_at(9)).loss.backward()
    assert image.grad[:2].abs().sum() == 0
    assert image.grad[2:].abs().sum() > 0


def test_remembering_uses_running_statistics_and_changes_none() -> None:
    method, batch = tiny(), tiny_batch()
    method.train()
    with torch.no_grad():
        maps = method.vanilla(batch.image).decoder[-1], method.auxiliary(batch.image).decoder[-1]
    before = {key: value.clone() for key, value in method.state_dict().items()}
    method._remember(batch, maps, torch.ones_like(batch.label, dtype=torch.bool))
    changed = {key for key, value in method.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"bank.vectors", "bank.counts"}
    assert method.vanilla_head.training


@pytest.mark.parametrize("classes", [2, 4])
def test_default_bank_of_16_cases_takes_64_mib_with_any_number_of_classes(classes: int) -> None:
    task = Task(dimensions=2, channels=1, classes=classes, labeled_cases=16)
    bank = CAML(CAMLConfig(), lambda **overrides: Tiny(classes, **overrides), task).bank
    assert bank.vectors.numel() * bank.vectors.element_size() == 64 * 2**20
    assert bank.capacity == 32_768 // classes


def test_a_slot_always_covers_what_is_drawn_of_a_class() -> None:
    assert tiny(bank_cap=6).bank.capacity == 4


# --- the rows --------------------------------------------------------------------------------------------------


def test_both_branches_read_the_same_sure_unlabeled_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch = tiny(), tiny_batch()
    first, second = answers(method, batch)
    reads, losses = spy(monkeypatch, caml, "features_at"), spy(monkeypatch, caml, "omni_correlation")
    method(batch, progress_at(9))
    positions = [arguments[1] for arguments, _ in reads[2:]]  # the first two are the bank's
    assert torch.equal(*positions)
    chosen = positions[0][losses[0][0][2]]
    assert len(chosen) > 6
    assert (chosen >= batch.label.numel()).all()
    assert torch.equal(first.flatten()[chosen], second.flatten()[chosen])
    confidence = method.vanilla(batch.image).logits.softmax(1).max(1).values.flatten()
    eligible = first.flatten() == second.flatten()
    eligible[: batch.label.numel()] = False
    taken = torch.zeros_like(eligible)
    taken[chosen] = True
    for number in range(3):
        mine = eligible & (first.flatten() == number)
        assert (taken & mine).sum() == min(6, mine.sum())
        if (mine & ~taken).any():
            assert confidence[mine & taken].min() >= confidence[mine & ~taken].max()


def test_confidence_of_the_auxiliary_network_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch = tiny(), tiny_batch()
    reads = spy(monkeypatch, caml, "features_at")
    method(batch, progress_at(9))
    with torch.no_grad():  # the same answers, less sure of them
        method.auxiliary.out.weight *= 0.5
        method.auxiliary.out.bias *= 0.5
    method(batch, progress_at(9))
    assert torch.equal(reads[2][0][1], reads[6][0][1])


def test_agreement_and_confidence_are_those_of_the_unlabeled_voxels() -> None:
    method, batch = tiny(), tiny_batch()
    first, second = answers(method, batch)
    out = method(batch, progress_at(9))
    confidence = method.vanilla(batch.image).logits.softmax(1).max(1).values
    assert out.terms["agreement"].item() == pytest.approx((first == second)[2:].float().mean().item())
    assert out.terms["confidence"].item() == pytest.approx(confidence[2:].mean().item())


@pytest.mark.parametrize("kind", ["never agree", "never right"])
def test_without_rows_or_prototypes_the_consistency_is_zero_with_finite_gradients(kind: str) -> None:
    method, batch = tiny(), tiny_batch()
    with torch.no_grad():
        for network, number in ((method.vanilla, 0), (method.auxiliary, 1 if kind == "never agree" else 0)):
            network.out.weight.zero_()
            network.out.bias.copy_(torch.eye(3)[number])
    batch = batch._replace(label=torch.full_like(batch.label, 2))  # absent classes too
    for module in (method, method.train()):
        module.zero_grad()
        out = module(batch, progress_at(9))
        out.loss.backward()
        assert out.terms["occ"] == 0
        assert out.terms["bank_fill"] == 0
        assert out.terms["occ_rows"] == 0
        assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)


def test_a_class_with_a_single_sure_voxel_is_left_out() -> None:
    method, batch = tiny(), tiny_batch()
    answer = torch.full((4, 8, 8), -1)
    answer[2, 0, 0] = 1
    answer[3, 0, :2] = 2
    method(batch, progress_at(9))
    maps = method.vanilla(batch.image).decoder[-1], method.auxiliary(batch.image).decoder[-1]
    _, rows = method._correlate(batch, maps, torch.rand(4, 8, 8), answer)
    assert rows == 2


# --- which term reaches what -------------------------------------------------------------------------------------

NETWORKS = {"vanilla", "auxiliary"}
HEADS = {"vanilla_head", "auxiliary_head"}


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"cross_weight": 0.0, "occ_weight": 0.0}, NETWORKS),
        ({"supervised_weight": 0.0, "occ_weight": 0.0}, NETWORKS),
        ({"supervised_weight": 0.0, "cross_weight": 0.0}, NETWORKS | HEADS),
        (
            {"supervised_weight": 0.0, "cross_weight": 0.0, "occ_detach_target": True},
            {"vanilla", "vanilla_head"},
        ),
    ],
    ids=["supervised", "cross", "occ", "occ, target detached"],
)
def test_each_term_reaches_its_parts(weights: dict, expected: set[str]) -> None:
    assert {name for name, yes in reached(tiny(**weights)).items() if yes} == expected


@pytest.mark.parametrize("detach", [False, True])
def test_cross_detach_decides_whether_the_sharpened_answer_has_a_gradient(detach: bool) -> None:
    method = tiny(cross_detach=detach)
    peer = torch.randn(2, 3, 4, requires_grad=True)
    own = torch.randn(2, 3, 4, requires_grad=True)
    method._follow(own, own.softmax(1), peer.softmax(1)).backward()
    assert own.grad.abs().sum() > 0
    assert (peer.grad is None) is detach


# --- switches ----------------------------------------------------------------------------------------------------


def test_sup_adds_the_cross_entropy() -> None:
    batch = tiny_batch()
    method = tiny(sup="ce_dice")
    logits = [network(batch.image).logits[:2] for network in (method.vanilla, method.auxiliary)]
    entropies = sum(nn.functional.cross_entropy(z, batch.label).item() for z in logits)
    plain = tiny()(batch, progress_at(9)).terms["supervised"].item()
    assert method(batch, progress_at(9)).terms["supervised"].item() == pytest.approx((entropies + plain) / 2, rel=1e-5)


def test_cross_can_be_that_of_cps() -> None:
    method, batch = tiny(cross="cps_ce"), tiny_batch()
    z_v, z_a = method.vanilla(batch.image).logits, method.auxiliary(batch.image).logits
    expected = nn.functional.cross_entropy(z_v, z_a.argmax(1)) + nn.functional.cross_entropy(z_a, z_v.argmax(1))
    assert method(batch, progress_at(9)).terms["cross"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_temperatures_change_their_terms_alone() -> None:
    def terms(**config: Any) -> dict[str, float]:
        torch.manual_seed(5)
        return {key: value.item() for key, value in tiny(**config)(tiny_batch(), progress_at(9)).terms.items()}

    plain, softer, warmer = terms(), terms(sharpening_temperature=0.5), terms(occ_temperature=1.0)
    assert {key for key in plain if plain[key] != softer[key]} == {"cross"}
    assert {key for key in plain if plain[key] != warmer[key]} == {"occ"}


def test_heads_and_draws_follow_their_switches() -> None:
    assert tiny(occ_pred_head=False).vanilla_head.prediction is None
    assert tiny(embed_dim=5).bank.vectors.shape[-1] == 5
    assert tiny(rows_per_class=2)(tiny_batch(), progress_at(9)).terms["occ_rows"] <= 6
    assert tiny(prototypes_per_class=7, bank_cap=30).bank.draw(7)[0].shape == (21, 3)


def test_profiles_are_those_of_the_table() -> None:
    own = {
        profile: {path[7:]: value for path, value in overrides.items() if path.startswith("method.")}
        for profile, overrides in CAML.profiles.items()
    }
    paper = {"sup": "ce_dice", "cross": "cps_ce", "occ_sim": "cosine", "occ_pred_head": False, "occ_weight": 0.1}
    assert own == {"default": {}, "paper": paper, "released": {"ramp_staircase": 150, "embed_dim": 32}}
    assert {CAML.profiles[name]["optimizer.schedule"] for name in ("paper", "released")} == {"constant"}
    assert CAML.published_steps == 15_000


# --- ablations and networks ----------------------------------------------------------------------------------------


def test_dropped_terms_and_modules_are_not_there() -> None:
    batch = tiny_batch()
    whole = tiny()
    assert isinstance(whole.auxiliary.mid, CrossSampleAttention)
    assert not {"cross", "cross_weight"} & set(tiny(drop=("cross",))(batch, progress_at(9)).terms)
    without = tiny(drop=("occ",))
    assert not {"occ", "occ_weight", "bank_fill", "occ_rows"} & set(without(batch, progress_at(9)).terms)
    assert {name for name, _ in without.named_children()} == {"vanilla", "auxiliary"}
    assert tiny(drop=("cma",)).auxiliary.mid is None
    bare = tiny(drop=("occ", "cma", "cross"))(batch, progress_at(9)).terms
    assert set(bare) == {"supervised", "supervised_weight", "agreement", "confidence"}


def test_attention_mixes_samples_in_training_only() -> None:
    def labeled_answer(method: CAML, unlabeled: float) -> Tensor:
        batch = tiny_batch()
        image = torch.cat([batch.labeled_image, batch.unlabeled_image + unlabeled])
        torch.manual_seed(0)
        return method.auxiliary(image).logits[:2]

    method = tiny()
    assert torch.equal(labeled_answer(method, 0.0), labeled_answer(method, 1.0))
    method.train()
    assert not torch.allclose(labeled_answer(method, 0.0), labeled_answer(method, 1.0))


def test_networks_have_the_published_numbers_of_parameters() -> None:
    def count(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    task = Task(dimensions=3, channels=1, classes=2, labeled_cases=1)
    method = CAML(CAMLConfig(bank_cap=2), network_factory("vnet", task=task), task)
    assert [count(part) for part in (method.vanilla.encoder, method.vanilla.decoder)] == [7_376_896, 2_071_970]
    assert [count(part) for part in (method.auxiliary.encoder, method.auxiliary.decoder)] == [7_773_440, 2_898_850]
    assert count(method) == 20_148_804
    assert count(method.predictor()) == 9_448_866
    narrow = CAMLConfig(bank_cap=2, embed_dim=CAML.profiles["released"]["method.embed_dim"])
    assert count(CAML(narrow, network_factory("vnet", task=task), task)) == 20_128_836


def test_runs_on_the_3d_u_net_which_has_one_kind_of_decoder() -> None:
    task = Task(dimensions=3, channels=1, classes=2, labeled_cases=2)
    method = CAML(CAMLConfig(), network_factory("unet3d", task=task, width=4), task)
    out = method(make_batch(), progress_at(1))
    out.loss.backward()
    assert torch.isfinite(out.loss)


def test_networks_that_lack_what_is_needed_are_refused_with_those_that_have_it() -> None:
    task = Task(dimensions=3, channels=1, classes=2, labeled_cases=2)

    def no_maps(**overrides: Any) -> nn.Module:
        return nn.Conv3d(1, 2, 1)

    with pytest.raises(UsageError, match="vnet"):
        CAML(CAMLConfig(), no_maps, task)


def test_target_head_that_nothing_trains_is_frozen() -> None:
    method = make_method("caml", occ_detach_target=True)
    assert not any(parameter.requires_grad for parameter in method.auxiliary_head.parameters())
    assert all(parameter.requires_grad for parameter in make_method("caml").auxiliary_head.parameters())


def test_auxiliary_is_observed_with_its_attention_and_predicts_without() -> None:
    method, image = make_method("caml").eval(), make_batch().image
    watched = method.observed()["pseudo_label"]
    plain = method.auxiliary(image).logits
    attended = watched(image)
    assert not torch.equal(attended, plain.softmax(1))
    assert torch.equal(method.auxiliary(image).logits, plain)  # and it is off again
    assert not torch.equal(watched(image[:1]), attended[:1])  # samples attend to each other
    without = make_method("caml", drop=("cma",)).eval()
    assert torch.equal(without.observed()["pseudo_label"](image), without.auxiliary(image).logits.softmax(1))


def test_deployed_is_the_vanilla_network_alone_and_the_auxiliary_is_observed() -> None:
    method, image = make_method("caml"), make_batch().image[:1]
    deployed, watched = method.predictor().eval(), method.observed()["pseudo_label"].eval()
    before, before_watched = deployed(image), watched(image)
    with torch.no_grad():
        for part in (method.auxiliary, method.vanilla_head, method.auxiliary_head):
            for parameter in part.parameters():
                parameter += 1.0
    assert torch.equal(deployed(image), before)
    assert not torch.equal(watched(image), before_watched)
    with torch.no_grad():
        for parameter in method.vanilla.parameters():
            parameter += 1.0
    assert not torch.equal(deployed(image), before)


def test_choosing_voxels_first_equals_projecting_all_of_them() -> None:
    """The remedy of the cost: both orders give the same rows; heads act on each voxel alone given the statistics."""
    method, batch = tiny(), tiny_batch()
    method.train()
    maps = method.vanilla(batch.image).decoder[-1]
    position = torch.tensor([3, 200, 130, 77])
    everything = maps.movedim(1, -1).reshape(-1, 4)
    counted = torch.zeros(len(everything), dtype=torch.bool)
    counted[position] = True
    expected = method.vanilla_head(everything, counted)[position]
    found = method.vanilla_head(caml.features_at(maps, position), torch.ones(4, dtype=torch.bool))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    keys = method.vanilla_head.remembered(everything)[position]
    torch.testing.assert_close(method.vanilla_head.remembered(caml.features_at(maps, position)), keys)


def test_training_fills_the_bank_and_uses_it() -> None:
    method = make_method("caml", classes=2, bank_cap=2048)
    for outputs in train(method, 3):
        terms = outputs["main"].terms
    assert terms["bank_fill"] > 0
    assert method.bank.counts.sum() > 0
    assert terms["occ_rows"] > 0
