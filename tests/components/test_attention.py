from __future__ import annotations

import pytest
import torch
from torch import nn

from semivox.components.attention import CrossSampleAttention, encode


def attention(*, dropout: float = 0.0) -> CrossSampleAttention:
    torch.manual_seed(0)
    return CrossSampleAttention(8, dropout=dropout).train()


def features(batch: int = 4, space: tuple[int, ...] = (3, 2, 2)) -> torch.Tensor:
    return torch.randn(batch, 8, *space, generator=torch.Generator().manual_seed(1))


def test_each_layer_has_the_published_number_of_parameters() -> None:
    module = CrossSampleAttention(128)
    assert [sum(p.numel() for p in layer.parameters()) for layer in (module.intra, module.inter)] == [198_272] * 2
    assert module.intra.self_attn.num_heads == 4
    assert module.intra.linear1.out_features == 512
    assert module.intra.dropout.p == 0.5
    assert not module.intra.norm_first  # post-norm


@pytest.mark.parametrize("space", [(5, 4), (3, 2, 4)])
def test_is_the_identity_in_evaluation_and_keeps_the_shape_in_training(space: tuple[int, ...]) -> None:
    module, given = attention(dropout=0.5), features(space=space)
    assert module.eval()(given) is given
    attended = module.train()(given)
    assert attended.shape == given.shape
    assert not torch.allclose(attended, given)


def test_is_two_encoder_layers_over_positions_and_then_over_samples() -> None:
    module, given = attention(), features(space=(3, 2))
    by_hand = torch.empty_like(given)
    tokens = torch.stack([_layer_by_hand(module.intra, sample.flatten(1).T) for sample in given])  # (B, S, d)
    for position in range(6):
        samples = _layer_by_hand(module.inter, tokens[:, position])
        by_hand[:, :, position // 2, position % 2] = samples
    torch.testing.assert_close(module(given), by_hand, rtol=1e-4, atol=1e-5)


def _layer_by_hand(layer: nn.TransformerEncoderLayer, tokens: torch.Tensor) -> torch.Tensor:
    """Post-norm encoder layer on one sequence (S, d), head by head."""
    attend = layer.self_attn
    width = tokens.shape[1] // attend.num_heads
    query, key, value = (tokens @ attend.in_proj_weight.T + attend.in_proj_bias).chunk(3, dim=1)
    heads = []
    for head in range(attend.num_heads):
        part = slice(head * width, (head + 1) * width)
        share = (query[:, part] @ key[:, part].T / width**0.5).softmax(1)
        heads.append(share @ value[:, part])
    tokens = layer.norm1(tokens + attend.out_proj(torch.cat(heads, 1)))
    return layer.norm2(tokens + layer.linear2(layer.linear1(tokens).relu()))


def test_permuting_the_batch_permutes_the_result() -> None:
    module, given = attention(), features()
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(module(given[order]), module(given)[order], rtol=1e-4, atol=1e-5)


def test_only_the_second_layer_carries_anything_from_one_sample_to_another() -> None:
    module, given = attention(), features().requires_grad_()
    tokens = given.flatten(2).transpose(1, 2)
    (within,) = torch.autograd.grad(module.intra(tokens)[0].square().sum(), given)
    assert within[0].abs().sum() > 0
    assert within[1:].abs().sum() == 0
    (across,) = torch.autograd.grad(module(given)[0].square().sum(), given)
    assert across[3].abs().sum() > 0


def test_a_single_sample_attends_to_itself_position_by_position() -> None:
    module, given = attention(), features(batch=1)
    tokens = module.intra(given.flatten(2).transpose(1, 2))
    alone = torch.stack([_layer_by_hand(module.inter, token.unsqueeze(0)) for token in tokens[0]], 1)  # (1, S, d)
    expected = alone.transpose(1, 2).reshape(given.shape)
    torch.testing.assert_close(module(given), expected, rtol=1e-4, atol=1e-5)


def test_keeps_type_and_memory_format() -> None:
    given = features().bfloat16().contiguous(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", torch.bfloat16):
        attended = attention()(given)
    assert attended.dtype == torch.bfloat16
    assert attended.is_contiguous(memory_format=torch.channels_last_3d)
    plain = attention()(features())
    assert plain.is_contiguous()
    assert (attended.float() - plain).abs().max() < 0.1


@pytest.mark.parametrize("samples_first", [True, False])
def test_draws_and_computes_what_pytorchs_layer_does(samples_first: bool) -> None:
    layer = attention(dropout=0.5).double().intra
    tokens = features().double().flatten(2).transpose(1, 2)
    tokens = tokens if samples_first else tokens.transpose(0, 1)
    found = []
    for compute in (layer, lambda given: encode(layer, given)):
        torch.manual_seed(2)
        found.append(compute(tokens))
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)
