"""PASTA's network: the published numbers, the conditioning, the clinical vector, the published weights' names."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from modality_synthesis.errors import BadInputError
from modality_synthesis.generators import build_generator
from modality_synthesis.generators.pasta.arm import Arm, ArmShape
from modality_synthesis.generators.pasta.blocks import Attention, ResidualBlock, Upsample
from modality_synthesis.generators.pasta.checkpoint import load_published, published_weights
from modality_synthesis.generators.pasta.clinical import ClinicalVector, PublishedClinicalVector

TINY = {"slices": 3, "channels": 8, "channel_multipliers": [1, 2], "blocks_per_level": 1, "attention_levels": [1],
        "heads": 2}  # fmt: skip


def randomize(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Random weights everywhere: many layers start at zero and would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    return module


@pytest.fixture(scope="module")
def published() -> Arm:
    """The published arm, without memory."""
    with torch.device("meta"):
        return Arm(ArmShape())


def test_an_arm_has_the_published_numbers(published):
    parts = {
        name: sum(p.numel() for p in getattr(published, name).parameters())
        for name in ("encoder", "stem", "middle", "decoder", "upsample", "embed_time", "head")
    }
    assert sum(parts.values()) == sum(p.numel() for p in published.parameters()) == 44_547_855
    assert parts["encoder"] + parts["stem"] == pytest.approx(14.55e6, abs=5e3)
    assert parts["middle"] == pytest.approx(3.03e6, abs=5e3)
    assert parts["decoder"] == pytest.approx(22.30e6, abs=5e3)
    assert parts["upsample"] == pytest.approx(4.58e6, abs=5e3)
    clinical = sum(p.numel() for name, p in published.named_parameters() if ".clinical." in name)
    assert clinical == 1_709_184
    assert sum(isinstance(module, Attention) for module in published.modules()) == 19


def test_features_and_cost_of_a_step_are_the_published_ones(published):
    slab = torch.zeros(1, 15, 96, 112, device="meta")
    features = published.extract(slab)
    sizes = [(64, 96, 112)] * 4 + [(128, 48, 56)] * 4 + [(192, 24, 28)] * 4 + [(256, 12, 14)] * 4
    sizes += [(256, 12, 14)] * 2 + [(256, 12, 14)] * 5 + [(192, 24, 28)] * 5 + [(128, 48, 56)] * 5 + [(64, 96, 112)] * 5
    assert [tuple(map_.shape[1:]) for map_ in features.maps] == sizes
    assert features.maps[16] is features.maps[17]  # the middle's output, for both of its blocks
    gains = published.gains(features, torch.zeros(1, 9, device="meta"))
    with FlopCounterMode(display=False) as counter:
        clean = published(slab, torch.zeros(1, device="meta"), gains)
    assert clean.shape == slab.shape
    assert counter.get_total_flops() / 1e9 == pytest.approx(86.35, abs=0.01)


def test_a_block_conditions_in_the_published_order():
    block = randomize(ResidualBlock(4, 6, embedding=8, clinical=5)).eval()
    x, feature, clinical = torch.randn(2, 4, 5, 7), torch.randn(2, 6, 5, 7), torch.randn(2, 5)
    time = torch.randn(2, 8)
    h = block.conv_in(functional.silu(block.norm_in(x)))
    scale, shift = block.time(time)[:, :, None, None].chunk(2, dim=1)
    h = block.norm_out(h) * (1 + scale) + shift
    h = h * (1 + feature)
    h = h * (1 + block.clinical(clinical)[:, :, None, None])
    expected = block.skip(x) + block.conv_out(functional.silu(h))
    torch.testing.assert_close(block(x, time, block.gain(feature, clinical)), expected)
    shared = block(x[:1], time[:1], block.gain(feature, clinical)[:1])  # one time: folded into the normalization
    torch.testing.assert_close(shared, expected[:1], rtol=1e-4, atol=1e-5)


def test_upsampling_by_phases_equals_upsampling_then_convolving():
    layer = randomize(Upsample(3))
    x = torch.randn(2, 3, 5, 6)
    with torch.no_grad():
        phases = layer(x)
    torch.testing.assert_close(phases, layer(x).detach(), rtol=1e-5, atol=1e-6)


def test_attention_splits_heads_before_query_key_and_value():
    attention = randomize(Attention(8, heads=2))
    x = torch.randn(1, 8, 2, 3)
    parts = attention.qkv(attention.norm(x).flatten(2)).reshape(2, 12, 6)
    mixed = []
    for head in parts:
        query, key, value = head.split(4)
        weight = torch.softmax((query / 4**0.25).T @ (key / 4**0.25), dim=-1)
        mixed.append(value @ weight.T)
    expected = x + attention.projection(torch.cat(mixed)[None]).reshape(x.shape)
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


def test_the_conditioner_knows_neither_time_nor_clinical_variables_and_the_denoiser_both():
    arm = randomize(Arm(ArmShape(3, 8, (1, 2), 1, (1,), 2, clinical=4)), seed=3).eval()
    noisy = torch.randn(1, 3, 8, 8)
    features = arm.extract(torch.randn(1, 3, 8, 8))
    plain = arm(noisy, torch.tensor([500]), arm.gains(features, torch.zeros(1, 4)))
    assert not torch.allclose(plain, arm(noisy, torch.tensor([10]), arm.gains(features, torch.zeros(1, 4))))
    assert not torch.allclose(plain, arm(noisy, torch.tensor([500]), arm.gains(features, torch.ones(1, 4))))


def test_the_published_clinical_vector_is_reproduced():
    raw = torch.tensor([[75, 1, 16, torch.nan, 12, torch.nan]])
    mean, std = torch.tensor([72, 0.5, 16, 27, 15, 0.5]), torch.tensor([7, 0.5, 3, 3, 9, 0.6])
    vector = PublishedClinicalVector()((raw - mean) / std)
    expected = torch.tensor([[0.4286, 1, 0, 0, -0.3333, 0, 0, 1, 0]])
    torch.testing.assert_close(vector, expected, atol=1e-4, rtol=0)


def test_unknown_is_no_average_and_nothing_known_is_forgotten_in_the_network():
    vector = ClinicalVector(2)
    vector.unknown.data[:] = torch.tensor([0.3, -0.7])
    values = torch.tensor([[0.0, torch.nan]])
    assert vector.eval()(values).tolist() == [[0.0, pytest.approx(-0.7), 1.0, 0.0]]
    vector.train()
    assert all(vector(torch.zeros(1, 2))[0, 2:].tolist() == [1.0, 1.0] for _ in range(50))


def published_shapes() -> dict[str, tuple[int, ...]]:
    """One arm's names and shapes in the published layout, spelled out from its description."""
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, before: int, after: int) -> None:
        shapes.update({f"{name}.weight": (after, before), f"{name}.bias": (after,)})

    def conv(name: str, before: int, after: int, kernel: int = 3) -> None:
        shapes.update({f"{name}.weight": (after, before, kernel, kernel), f"{name}.bias": (after,)})

    def norm(name: str, channels: int) -> None:
        shapes.update({f"{name}.weight": (channels,), f"{name}.bias": (channels,)})

    def residual(name: str, before: int, after: int, resampling: str = "") -> None:
        norm(f"{name}.in_layers.0", before)
        conv(f"{name}.in_layers.2", before, after)
        linear(f"{name}.emb_layers.1", 256, 2 * after)
        norm(f"{name}.out_layers.0", after)
        conv(f"{name}.out_layers.3", after, after)
        if resampling:
            conv(f"{name}.h_upd.{resampling}", before, before)
            conv(f"{name}.x_upd.{resampling}", before, before)
            return
        linear(f"{name}.tab_embed.0", 9, 256)
        linear(f"{name}.tab_embed.2", 256, after)
        if before != after:
            conv(f"{name}.skip_connection", before, after, 1)

    def attention(name: str, channels: int) -> None:
        norm(f"{name}.norm", channels)
        shapes.update({f"{name}.qkv.weight": (3 * channels, channels, 1), f"{name}.qkv.bias": (3 * channels,)})
        shapes.update({f"{name}.proj_out.weight": (channels, channels, 1), f"{name}.proj_out.bias": (channels,)})

    linear("time_embed.0", 64, 256)
    linear("time_embed.2", 256, 256)
    conv("input_blocks.0.0", 15, 64)
    before = 64
    for level, after in enumerate((64, 128, 192, 256)):
        for index in range(5 * level + 1, 5 * level + 5):
            residual(f"input_blocks.{index}.0", before, after)
            if level >= 2:
                attention(f"input_blocks.{index}.1", after)
            before = after
        if level < 3:
            residual(f"input_blocks.{5 * level + 5}.0", after, after, "op")
    residual("middle_block.0", 256, 256)
    attention("middle_block.1", 256)
    residual("middle_block.2", 256, 256)
    inputs = [512, 512, 512, 512, 448, 448, 384, 384, 384, 320, 320, 256, 256, 256, 192, 192, 128, 128, 128, 128]
    for index, before in enumerate(inputs):
        after = (256, 192, 128, 64)[index // 5]
        residual(f"output_blocks.{index}.0", before, after)
        if index < 10:
            attention(f"output_blocks.{index}.1", after)
    for index, channels in enumerate((256, 192, 128)):
        residual(f"output_upsample_blocks.{index}.0", channels, channels, "conv")
    norm("out.0", 64)
    conv("out.2", 64, 15)
    return shapes


def test_published_weights_fit_with_no_name_left_over_or_missing():
    shapes = published_shapes()
    assert len(shapes) == 786
    with torch.device("meta"):
        weights = {
            f"{arm}.{name}": torch.empty(shape) for arm in ("model", "encoder") for name, shape in shapes.items()
        }
        generator = build_generator("pasta", {"layout": "published"})
    assert sum(value.numel() for value in weights.values()) == 89_095_710
    load_published(generator, weights)
    with pytest.raises(BadInputError, match=r"encoder\.out\.2\.bias.*missing"):
        load_published(generator, {name: value for name, value in weights.items() if name != "encoder.out.2.bias"})
    with pytest.raises(BadInputError, match=r"extra.*left over"):
        load_published(generator, {**weights, "model.extra": torch.empty(1, device="meta")})
    with pytest.raises(BadInputError, match=r"time_embed\.0\.weight"):
        load_published(generator, {**weights, "model.time_embed.0.weight": torch.empty(1, 2, device="meta")})


def test_averaged_weights_are_preferred_and_other_files_refused():
    model, averaged = {"model.a": torch.zeros(1)}, {"encoder.b": torch.ones(1)}
    ema = {**{f"online_model.{name}": value for name, value in model.items()}, "initted": torch.tensor([0.0]),
           **{f"ema_model.{name}": value for name, value in averaged.items()}}  # fmt: skip
    assert published_weights({"step": 1, "model": model, "ema": ema, "opt": {}}) == (averaged, "averaged weights")
    assert published_weights({"model": model})[1] == "last weights"
    assert published_weights(model)[0] == model
    with pytest.raises(BadInputError, match="not one of PASTA"):
        published_weights({"state_dict": {"weight": torch.zeros(1)}})


def test_swapped_kernels_give_the_same_network_on_swapped_slices():
    parameters = {**TINY, "layout": "published"}
    plain, swapped = build_generator("pasta", parameters), build_generator("pasta", parameters)
    from modality_synthesis.generators.pasta.checkpoint import published_names

    randomize(plain, seed=5)
    weights = {theirs: plain.state_dict()[name] for name, theirs in published_names(plain).items()}
    load_published(swapped, weights)
    slab, noisy = torch.randn(2, 1, 3, 8, 12)
    with torch.no_grad():
        made = []
        for generator, flip in ((plain, False), (swapped, True)):
            condition, x = (value.transpose(2, 3) if flip else value for value in (slab, noisy))
            gains = generator.denoiser.gains(generator.conditioner.extract(condition), torch.ones(1, 9))
            made.append(generator.denoiser(x, torch.tensor([7]), gains))
    torch.testing.assert_close(made[1].transpose(2, 3), made[0], rtol=1e-4, atol=1e-4)
