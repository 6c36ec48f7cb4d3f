"""DRUNet and the 2-D U-Net against the paper's Table 1 and torchvision's ResNets."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from modality_synthesis.errors import BadInputError
from modality_synthesis.generators import build_generator
from modality_synthesis.generators.base import Batch
from modality_synthesis.generators.convolutions import WinogradConv2d
from modality_synthesis.generators.drunet import BasicBlock, Bottleneck, DRUNet, DRUNetwork, UpBasicBlock, UpBottleneck

# Li 2022, Table 1 (DRUNet-101, 448 x 448): layer -> channels and size of its output.
TABLE_1 = {
    "DOWN 1": (64, 224),
    "DOWN 2": (256, 112),
    "DOWN 3": (512, 56),
    "DOWN 4": (1024, 28),
    "D-CENTER": (2048, 14),
    "U-CENTER": (1024, 28),
    "UP 1": (512, 56),
    "UP 2": (256, 112),
    "UP 3": (64, 224),
    "UP 4": (1, 448),
}


def meta(name: str, **parameters):
    """A generator without memory or time spent on its weights."""
    with torch.device("meta"):
        return build_generator(name, parameters)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def small_network(**options) -> DRUNetwork:
    """A DRUNet with fewer blocks; random running statistics, so that batch normalization does something."""
    torch.manual_seed(0)
    network = DRUNetwork(options.pop("block", BasicBlock), (2, 2, 2, 2), **options)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return network.eval()


@pytest.mark.parametrize("literal", [True, False])
def test_the_ten_shapes_of_table_1(literal):
    network = meta("drunet-101", literal=literal).network
    shapes = {}
    for name, path in network.layers.items():
        network.get_submodule(path).register_forward_hook(
            lambda _, __, output, name=name: shapes.update({name: tuple(output.shape)})
        )
    network(torch.empty(1, 3, 448, 448, device="meta"))
    assert shapes == {name: (1, channels, size, size) for name, (channels, size) in TABLE_1.items()}


@pytest.mark.parametrize(
    ("name", "literal", "millions"),
    [
        ("drunet-34", True, 39.78),
        ("drunet-50", True, 47.31),
        ("drunet-101", True, 85.30),
        ("drunet-34", False, 41.19),
        ("drunet-50", False, 50.10),
        ("drunet-101", False, 88.08),
    ],
)
def test_parameter_totals(name, literal, millions):
    assert round(count(meta(name, literal=literal)) / 1e6, 2) == millions


# torchvision's resnet34/50/101 have 21,797,672 / 25,557,032 / 44,549,160 parameters, `fc` included.
@pytest.mark.parametrize(
    ("name", "published", "features", "convolutions"),
    [
        ("drunet-34", 21_797_672, 512, 76),
        ("drunet-50", 25_557_032, 2048, 109),
        ("drunet-101", 44_549_160, 2048, 211),
    ],
)
def test_encoder_is_torchvision_s_resnet_without_its_classifier(name, published, features, convolutions):
    generator = meta(name)
    assert count(generator.network.encoder) == published - 1000 * features - 1000
    assert sum(isinstance(module, torch.nn.Conv2d) for module in generator.modules()) == convolutions


def torchvision_state(name: str) -> dict[str, torch.Tensor]:
    """Random weights with the keys and shapes of torchvision's ResNets, written down from their published layout."""
    bottleneck = name != "drunet-34"
    counts = {"drunet-34": (3, 4, 6, 3), "drunet-50": (3, 4, 6, 3), "drunet-101": (3, 4, 23, 3)}[name]
    state: dict[str, torch.Tensor] = {}

    def convolution(key: str, after: int, before: int, kernel: int) -> None:
        state[f"{key}.weight"] = torch.randn(after, before, kernel, kernel)

    def norm(key: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{key}.{part}"] = torch.rand(channels)
        state[f"{key}.num_batches_tracked"] = torch.tensor(7)

    convolution("conv1", 64, 3, 7)
    norm("bn1", 64)
    before = 64
    for layer, (width, blocks) in enumerate(zip((64, 128, 256, 512), counts, strict=True), start=1):
        after = width * (4 if bottleneck else 1)
        for block in range(blocks):
            key = f"layer{layer}.{block}"
            shapes = (
                [(width, before, 1), (width, width, 3), (after, width, 1)]
                if bottleneck
                else [(width, before, 3), (width, width, 3)]
            )
            for number, shape in enumerate(shapes, start=1):
                convolution(f"{key}.conv{number}", *shape)
                norm(f"{key}.bn{number}", shape[0])
            if block == 0 and (layer > 1 or bottleneck):
                convolution(f"{key}.downsample.0", after, before, 1)
                norm(f"{key}.downsample.1", after)
            before = after
    state["fc.weight"], state["fc.bias"] = torch.randn(1000, before), torch.randn(1000)
    return state


@pytest.mark.parametrize("name", ["drunet-34", "drunet-50", "drunet-101"])
def test_torchvision_keys_and_shapes_map_one_to_one(name):
    encoder = meta(name).network.encoder.state_dict()
    published = {key: tensor.shape for key, tensor in torchvision_state(name).items() if not key.startswith("fc.")}
    assert {key: tensor.shape for key, tensor in encoder.items()} == published


@pytest.fixture(scope="module")
def resnet34(tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "resnet34.safetensors"
    save_file(torchvision_state("drunet-34"), path)
    return path


def test_imagenet_weights_fill_the_encoder(resnet34, tmp_path):
    generator = build_generator("drunet-34", {"encoder_weights": str(resnet34)})
    published = torchvision_state_from(resnet34)
    for key, value in generator.network.encoder.state_dict().items():
        torch.testing.assert_close(value, published[key], msg=key)
    # Older files hold a pickled state dict without the batch counters.
    old = tmp_path / "resnet34.pth"
    torch.save({key: value for key, value in published.items() if "num_batches" not in key}, old)
    again = build_generator("drunet-34", {"encoder_weights": str(old)})
    assert torch.equal(again.network.encoder.layer3[5].conv2.weight, published["layer3.5.conv2.weight"])


def torchvision_state_from(path):
    from safetensors.torch import load_file

    return load_file(path)


def test_unusable_encoder_weights_are_explained(resnet34, tmp_path):
    def build(name, path):
        return build_generator(name, {"encoder_weights": str(path)})

    with pytest.raises(BadInputError, match=r"absent.pth': no such file.*leave the parameter out"):
        build("drunet-34", tmp_path / "absent.pth")
    with pytest.raises(BadInputError, match=r"resnet34.safetensors: no weights for this encoder \('layer1.0.bn3.bias'"):
        build("drunet-50", resnet34)
    (tmp_path / "torn.safetensors").write_bytes(resnet34.read_bytes()[:1000])
    with pytest.raises(BadInputError, match=r"torn[.]safetensors: not readable"):
        build("drunet-34", tmp_path / "torn.safetensors")
    torch.save({"state_dict": {}, "epoch": 3}, tmp_path / "run.pth")
    with pytest.raises(BadInputError, match="no plain state dict"):
        build("drunet-34", tmp_path / "run.pth")
    weights = torchvision_state_from(resnet34)
    save_file({**weights, "conv1.weight": torch.zeros(64, 1, 7, 7)}, tmp_path / "gray.safetensors")
    with pytest.raises(BadInputError, match=r"'conv1.weight' has shape \(64, 1, 7, 7\)"):
        build("drunet-34", tmp_path / "gray.safetensors")


def test_a_pickle_with_code_in_it_is_refused(tmp_path):
    class Payload:
        def __reduce__(self):
            return (print, ("executed",))

    torch.save({"conv1.weight": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(BadInputError, match="not readable"):
        build_generator("drunet-34", {"encoder_weights": str(tmp_path / "evil.pth")})


def range_in_blocks(image: torch.Tensor, size: int) -> float:
    """The largest difference within blocks of size x size pixels, as a share of the image's range."""
    blocks = functional.unfold(image, size, stride=size)[0]
    return float((blocks.amax(0) - blocks.amin(0)).max() / (image.max() - image.min()))


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_the_default_decoder_draws_single_pixels(block):
    image = small_network(block=block)(torch.rand(1, 3, 64, 64)).detach()
    assert range_in_blocks(image, 2) > 0.05
    assert range_in_blocks(image, 4) > 0.05


@pytest.mark.parametrize(("block", "constant"), [(BasicBlock, 2), (Bottleneck, 4)])
def test_the_printed_decoder_draws_constant_blocks(block, constant):
    image = small_network(block=block, literal=True)(torch.rand(1, 3, 64, 64)).detach()
    assert range_in_blocks(image, constant) == 0
    assert range_in_blocks(image, 2 * constant) > 0.05


def printed_order(block: torch.nn.Module, features: torch.Tensor) -> torch.Tensor:
    """An up-block as the paper prints it: up-sampling first, then the 1x1 convolution."""

    def double(x):
        return functional.interpolate(x, scale_factor=2, mode="nearest")

    def plain(convolution, x):
        return functional.conv2d(x, convolution.weight, convolution.bias, padding=convolution.padding)

    shortcut = block.upsample(double(features))
    if isinstance(block, UpBasicBlock):
        inner = block.bn1(plain(block.conv1, double(features))).relu()
        return (block.bn2(block.conv2(inner)) + shortcut).relu()
    inner = block.bn1(block.conv1(features)).relu()
    inner = block.bn2(plain(block.conv2, double(inner))).relu()
    return (block.bn3(block.conv3(inner)) + shortcut).relu()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("kind", [UpBasicBlock, UpBottleneck])
def test_convolving_before_the_upsampling_changes_nothing(kind, kernel, training):
    torch.manual_seed(2)
    block = kind(12, 6, 4, kernel).double().train(training)
    features = torch.randn(3, 12, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(block(features), printed_order(block, features), atol=1e-10, rtol=1e-10)


def test_skip_stem_joins_down_1_to_up_4():
    plain, skip = meta("drunet-50"), meta("drunet-50", skip_stem=True)
    assert skip.network.head.conv.in_channels == 128
    assert count(skip) - count(plain) == 64 * 9
    assert small_network(skip_stem=True)(torch.rand(1, 3, 32, 64)).shape == (1, 1, 32, 64)


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(3)
    return build_generator("unet-2d", {"features": [4, 4, 8, 8, 8]}).eval()


@pytest.mark.parametrize("size", [(1, 32, 48), (5, 37, 50), (2, 20, 17)])
def test_any_volume_size_comes_back(size, unet):
    assert unet(torch.rand(2, 1, *size)).shape == (2, 1, *size)


def test_slices_are_independent(unet):
    volume = torch.rand(2, 1, 4, 37, 41)
    together = unet(volume)
    alone = torch.stack([unet(volume[:, :, [z]])[:, :, 0] for z in range(4)], dim=2)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_ordinary_u_net_has_the_baseline_s_size():
    assert round(count(meta("unet-2d")) / 1e6, 2) == 7.78


def test_three_hu_windows_become_three_channels():
    generator = meta_free_input(channels="windows", source_range=[-1024, 2000])
    hounsfield = torch.tensor([-1024.0, -20, 0, 40, 80, 180, 2000]).reshape(1, 1, 1, 1, 7)
    images = generator((hounsfield + 1024) / 3024)[0, :, 0]
    mean, std = (torch.tensor(values)[:, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = torch.tensor(
        [
            [0, 0, 0, 0.5, 1, 1, 1],
            [0, 0, 0.1, 0.3, 0.5, 1, 1],
            [0, 1004 / 3024, 1024 / 3024, 1064 / 3024, 1104 / 3024, 1204 / 3024, 1],
        ]
    )
    torch.testing.assert_close(images * std + mean, expected, atol=1e-5, rtol=1e-5)


def meta_free_input(**parameters):
    return build_generator("unet-2d", {"features": [2, 2, 2, 2, 2], **parameters}).input


def test_neighbor_channels_are_the_slices_below_and_above():
    layer = meta_free_input(channels="neighbors")
    volume = torch.arange(5.0).reshape(1, 1, 5, 1, 1).expand(1, 1, 5, 2, 2)
    images = layer(volume)[..., 0, 0] * layer.std[:, 0, 0] + layer.mean[:, 0, 0]
    torch.testing.assert_close(images, torch.tensor([[0.0, 1, 2], [1, 2, 3], [2, 3, 4]]))


def test_training_on_slabs_leaves_out_slices_without_both_neighbors():
    generator = build_generator("unet-2d", {"features": [2, 2, 2, 2, 2], "channels": "neighbors"})
    batch = Batch(source=torch.rand(1, 1, 5, 32, 32), target=torch.rand(1, 1, 5, 32, 32))
    depths = []

    def criterion(prediction, target, mask):
        depths.append((prediction.shape[2], target.shape[2], mask.shape[2]))
        torch.testing.assert_close(target, batch.target[:, :, 1:4])
        return {"l1": (prediction - target).abs().mean()}

    generator.training_step("generator", batch, criterion)
    assert depths == [(3, 3, 3)]
    assert generator(batch.source).shape == batch.source.shape


@pytest.mark.parametrize("activation", ["none", "sigmoid", "logits"])
def test_what_losses_see_and_what_synthesis_returns(activation):
    torch.manual_seed(4)
    parameters = {"features": [2, 2, 2, 2, 2]}
    raw = build_generator("unet-2d", parameters).eval()
    generator = build_generator("unet-2d", {**parameters, "activation": activation}).eval()
    generator.load_state_dict(raw.state_dict())
    source = torch.rand(1, 1, 1, 32, 32)
    seen = []

    def criterion(prediction, target, mask):
        seen.append(prediction)
        return {"l1": prediction.abs().mean()}

    generator.training_step("generator", Batch(source=source, target=source), criterion)
    output = raw(source)
    torch.testing.assert_close(seen[0], output.sigmoid() if activation == "sigmoid" else output)
    synthetic = generator.synthesize(Batch(source=source))
    torch.testing.assert_close(synthetic, output if activation == "none" else output.sigmoid())


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"channels": "rgb"}, "channels"),
        ({"activation": "relu"}, "activation"),
        ({"windows": [[0, 80], [80, 0], [0, 1]]}, "windows"),
        ({"source_range": [5, 5]}, "source_range"),
        ({"block": "Bottleneck"}, "no parameter 'block'"),
    ],
)
def test_wrong_parameters_are_named(parameters, word):
    with pytest.raises(BadInputError, match=word):
        meta("drunet-34", **parameters)


def test_weights_of_the_package_are_those_of_the_network(resnet34):
    generator = build_generator("drunet-34", {"encoder_weights": str(resnet34), "channels": "windows"})
    without = meta("drunet-34", channels="windows")
    # At synthesis the packaged weights fill the network; the ImageNet file is not needed again.
    assert set(generator.package_state()) == set(without.package_state())
    assert "encoder_weights" in generator.training_parameters


def with_statistics(generator):
    """Running statistics as training leaves them, so that folding has something to fold."""
    torch.manual_seed(5)
    for module in generator.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, -1, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return generator.eval()


@pytest.mark.parametrize(
    "build",
    [
        lambda: DRUNet(BasicBlock, (1, 2, 2, 2), literal=True, skip_stem=True),
        lambda: DRUNet(Bottleneck, (2, 2, 2, 2), activation="logits"),
        lambda: build_generator("unet-2d"),
    ],
    ids=["basic", "bottleneck", "unet-2d"],
)
def test_optimizing_for_synthesis_keeps_the_output(build):
    torch.manual_seed(6)
    generator = with_statistics(build())
    batch = Batch(source=torch.rand(1, 1, 2, 40, 33))
    with torch.inference_mode():
        before = generator.synthesize(batch)
        generator.optimize_for_synthesis(torch.device("cpu"))
        after = generator.synthesize(batch)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in generator.modules())
    assert any(isinstance(module, WinogradConv2d) for module in generator.modules())
    torch.testing.assert_close(after, before, atol=float(1e-4 * before.abs().max()), rtol=1e-4)
    assert after.shape == batch.source.shape


@pytest.mark.parametrize("literal", [True, False])
@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_training_starts_near_the_targets_not_tens_of_units_away(block, literal):
    torch.manual_seed(7)
    network = DRUNetwork(block, (2, 2, 2, 2), literal=literal)
    assert network(torch.randn(2, 3, 64, 64)).square().mean().sqrt() < 5
