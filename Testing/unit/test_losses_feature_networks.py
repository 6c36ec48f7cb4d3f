"""Feature networks against independent computations."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from monai.networks.nets.resnet import ResNet
from safetensors.numpy import load_file
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from modality_synthesis.errors import BadInputError, HashMismatchError
from modality_synthesis.losses import feature_networks
from modality_synthesis.losses.feature_architectures import ARCHITECTURES
from modality_synthesis.losses.feature_networks import load_feature_network
from modality_synthesis.networks import Shipped
from modality_synthesis.resources import resource


def randomized(module: nn.Module, prefixes: tuple[str, ...] = ("",)) -> dict[str, torch.Tensor]:
    """A state with every tensor drawn at random; variances positive."""
    generator = torch.Generator().manual_seed(5)
    state = {}
    for key, value in module.state_dict().items():
        if key.startswith(prefixes) and value.is_floating_point():
            drawn = torch.randn(value.shape, generator=generator) * (0.1 if value.ndim > 1 else 0.2)
            state[key] = drawn.abs() + 0.5 if key.endswith(("running_var", "bn.weight")) else drawn
    return state


def images(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal but for rounding, which grows with the largest values that were summed."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.detach().abs().max()))


def monai_resnet50() -> ResNet:
    """MONAI's residual network in the form of torchvision's ResNet-50, and with its names."""
    widths = [64, 128, 256, 512]
    return ResNet("bottleneck", [3, 4, 6, 3], widths, spatial_dims=2, conv1_t_stride=2, bias_downsample=False)


# Shipped


def test_oxford_weights_have_the_published_values():
    weights = load_file(resource("Networks", "vgg16-imagenet.safetensors"))
    blue, red = 0, 2
    # Printed in public scripts that read the Oxford release.
    assert weights["conv1_1.weight"][0, red, 0, 0] == pytest.approx(0.480015397, rel=1e-3)
    assert weights["conv1_1.weight"][0, blue, 0, 0] == pytest.approx(0.429470569, rel=1e-3)
    assert weights["conv1_1.bias"][0] == pytest.approx(0.734298348, rel=1e-6)
    assert weights["conv4_3.weight"].flat[0] == pytest.approx(-0.00413556537, rel=1e-3)
    assert weights["conv4_3.bias"][0] == pytest.approx(0.0375776812, rel=1e-6)
    step = float(weights["conv5_3.scale"][0])
    assert weights["conv5_3.weight"].flat[0] * step == pytest.approx(0.000407882966, abs=0.51 * step)
    assert weights["conv5_3.bias"][0] == pytest.approx(0.188378572, rel=1e-6)


def test_vgg16_equals_a_numpy_forward_pass():
    weights = load_file(resource("Networks", "vgg16-imagenet.safetensors"))
    rgb = images(1, 3, 16, 24)
    # Caffe's convention, written out.
    values = rgb[0].numpy()[::-1] * 255.0 - np.array([103.939, 116.779, 123.68], np.float32)[:, None, None]
    expected = {}
    for block, count in enumerate((2, 2, 3, 3), start=1):
        if block > 1:
            channels, height, width = values.shape
            values = values.reshape(channels, height // 2, 2, width // 2, 2).max(axis=(2, 4))
        for index in range(1, count + 1):
            kernel = weights[f"conv{block}_{index}.weight"].astype(np.float32)
            padded = np.pad(values, ((0, 0), (1, 1), (1, 1)))
            windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
            values = np.tensordot(kernel, windows, axes=([1, 2, 3], [0, 3, 4]))
            values = values + weights[f"conv{block}_{index}.bias"][:, None, None]
            expected[f"conv{block}_{index}"] = values
            values = np.maximum(values, 0)
            expected[f"relu{block}_{index}"] = values
    layers = ("relu1_2", "conv3_2", "relu4_3")
    for layer, found in zip(layers, load_feature_network("vgg16", layers=layers)(rgb), strict=True):
        scale = np.abs(expected[layer]).max()
        np.testing.assert_allclose(found[0].numpy(), expected[layer], atol=1e-5 * scale)


def test_layers_come_in_the_order_asked_for_and_cut_the_network():
    network = load_feature_network(layers=("relu4_3", "relu1_1"))
    deep, shallow = network(images(1, 3, 16, 16))
    assert (deep.shape, shallow.shape) == ((1, 512, 2, 2), (1, 64, 16, 16))
    # Up to relu4_3: the figure of the paper's feature network.
    assert sum(values.numel() for values in network._hidden[0].parameters()) == 7_635_264


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("vgg16", 14_714_688),
        ("vgg19", 20_024_384),
        ("resnet50", 23_508_032),
        ("squeezenet1_1", 722_496),
        ("medicalnet-resnet10", 14_355_520),
    ],
)
def test_architectures_have_the_published_sizes(name, parameters):
    with torch.device("meta"):
        module = ARCHITECTURES[name]().module
    assert sum(values.numel() for values in module.parameters()) == parameters


def test_a_changed_shipped_file_is_refused(monkeypatch):
    monkeypatch.setitem(
        feature_networks.SHIPPED, "vgg16", Shipped("vgg16-imagenet.safetensors", sha256="0" * 64)
    )  # fmt: skip
    with pytest.raises(HashMismatchError, match=r"vgg16-imagenet\.safetensors"):
        load_feature_network()


def test_description_names_file_hash_and_licence():
    facts = load_feature_network().describe()
    assert facts["file"] == "vgg16-imagenet.safetensors"
    assert facts["sha256"] == feature_networks.SHIPPED["vgg16"].sha256
    assert facts["licence"] == "CC-BY-4.0"


# Stays out of training


def test_parents_see_no_parameters_and_cannot_train_it(tmp_path):
    reference = monai_resnet50()
    path = tmp_path / "resnet50.safetensors"
    save_file(randomized(reference, ("conv1", "bn1", "layer1")), path)
    parent = nn.Sequential(load_feature_network("resnet50", layers=("layer1",), weights=path), nn.Dropout())
    before = parent[0](images(2, 3, 32, 32))[0]
    parent.train()
    for _ in range(2):
        after = parent[0](images(2, 3, 32, 32))[0]
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert (list(parent.parameters()), list(parent.buffers()), dict(parent.state_dict())) == ([], [], {})
    assert not parent[0].training


def test_it_moves_with_its_parent_and_can_be_copied():
    parent = nn.Sequential(load_feature_network(layers=("relu1_1",)))
    values = images(1, 3, 16, 16)
    single = parent[0](values)[0]
    double = copy.deepcopy(parent).double()[0](values)[0]
    assert double.dtype == torch.float64
    assert_close(double.float(), single)


def test_building_draws_no_random_numbers():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    load_feature_network()
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_gradient_reaches_the_images():
    values = images(1, 3, 16, 16).requires_grad_()
    load_feature_network(layers=("relu2_2",))(values)[0].sum().backward()
    assert values.grad.abs().min() > 0


# From files


def torchvision_vgg(configuration: str) -> nn.Sequential:
    """VGG as torchvision builds it: `features.N`, N counting convolutions, rectifications and poolings."""
    layers: list[nn.Module] = []
    before = 3
    for item in configuration.split():
        if item == "M":
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers += [nn.Conv2d(before, int(item), 3, padding=1), nn.ReLU()]
        before = int(item)
    return nn.ModuleDict({"features": nn.Sequential(*layers)})


@pytest.mark.parametrize(
    ("name", "configuration", "layer", "index"),
    [
        ("vgg16", "64 64 M 128 128 M 256 256 256", "relu3_2", 13),
        ("vgg19", "64 64 M 128 128 M 256 256 256 256", "relu3_4", 17),
    ],
)
def test_torchvision_vgg(name, configuration, layer, index, tmp_path):
    reference = torchvision_vgg(configuration)
    state = randomized(reference)
    reference.load_state_dict(state)
    torch.save({**state, "classifier.0.weight": torch.zeros(2, 2)}, tmp_path / "weights.pth")
    network = load_feature_network(name, layers=(layer,), weights=tmp_path / "weights.pth")
    rgb = images(2, 3, 16, 20)
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    features = reference["features"][: index + 1]
    assert_close(network(rgb)[0], features((rgb - mean) / deviation))
    # The authors' input: [0, 1] without mean and deviation.
    assert_close(network(rgb, centered=False)[0], features(rgb))


def test_torchvision_resnet_equals_monais(tmp_path):
    reference = monai_resnet50()
    state = randomized(reference, ("conv1", "bn1", "layer1", "layer2"))
    reference.load_state_dict(state, strict=False)
    reference.eval()
    torch.save(state, tmp_path / "resnet50.pth")
    network = load_feature_network("resnet50", layers=("layer1", "layer2"), weights=tmp_path / "resnet50.pth")
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    values = (images(1, 3, 48, 40) - mean) / deviation
    with torch.no_grad():
        values = reference.layer1(reference.maxpool(reference.act(reference.bn1(reference.conv1(values)))))
        deep = reference.layer2(values)
    first, second = network(images(1, 3, 48, 40))
    assert_close(first, values)
    assert_close(second, deep)


def norm(values: torch.Tensor, state: dict[str, torch.Tensor], name: str, epsilon: float) -> torch.Tensor:
    parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return functional.batch_norm(values, *parts, eps=epsilon)


def test_radimagenet_convention_and_first_stage(tmp_path):
    state = randomized(ARCHITECTURES["radimagenet-resnet50"]().module, ("conv1", "bn1", "layer1", "layer2"))
    torch.save(state, tmp_path / "RadImageNet.pth")
    network = load_feature_network("radimagenet-resnet50", layers=("layer2",), weights=tmp_path / "RadImageNet.pth")
    rgb = images(1, 3, 48, 48)

    def convolve(values, name, **options):
        return functional.conv2d(values, state[f"{name}.weight"], state[f"{name}.bias"], **options)

    # BGR minus (0.406, 0.456, 0.485); Keras' epsilon; a stride in the first convolution of a stage.
    values = rgb.flip(1) - torch.tensor([0.406, 0.456, 0.485]).view(1, 3, 1, 1)
    values = norm(convolve(values, "conv1", stride=2, padding=3), state, "bn1", 1.001e-5).relu()
    values = functional.max_pool2d(values, 3, 2, 1)
    for stage, count in ((1, 3), (2, 4)):
        for index in range(count):
            block, stride = f"layer{stage}.{index}", 2 if (stage, index) == (2, 0) else 1
            inner = norm(convolve(values, f"{block}.conv1", stride=stride), state, f"{block}.bn1", 1.001e-5).relu()
            inner = norm(convolve(inner, f"{block}.conv2", padding=1), state, f"{block}.bn2", 1.001e-5).relu()
            inner = norm(convolve(inner, f"{block}.conv3"), state, f"{block}.bn3", 1.001e-5)
            if index == 0:
                values = convolve(values, f"{block}.downsample.0", stride=stride)
                values = norm(values, state, f"{block}.downsample.1", 1.001e-5)
            values = (inner + values).relu()
    assert_close(network(rgb)[0], values)


def test_medicalnet_is_dilated_and_read_from_a_wrapped_file(tmp_path):
    state = randomized(ARCHITECTURES["medicalnet-resnet10"]().module, ("conv1", "bn1", "layer1", "layer2", "layer3"))
    wrapped = {"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}
    torch.save(wrapped, tmp_path / "medicalnet.pth")
    network = load_feature_network("medicalnet-resnet10", layers=("layer3",), weights=tmp_path / "medicalnet.pth")

    def convolve(values, name, **options):
        return functional.conv3d(values, state[f"{name}.weight"], **options)

    volume = images(1, 1, 24, 24, 32)
    values = norm(convolve(volume, "conv1", stride=2, padding=3), state, "bn1", 1e-5).relu()
    values = functional.max_pool3d(values, 3, 2, 1)
    for stage, stride, dilation in ((1, 1, 1), (2, 2, 1), (3, 1, 2)):
        block, spread = f"layer{stage}.0", {"padding": dilation, "dilation": dilation}
        inner = norm(convolve(values, f"{block}.conv1", stride=stride, **spread), state, f"{block}.bn1", 1e-5).relu()
        inner = norm(convolve(inner, f"{block}.conv2", **spread), state, f"{block}.bn2", 1e-5)
        if f"{block}.downsample.0.weight" in state:
            values = norm(
                convolve(values, f"{block}.downsample.0", stride=stride), state, f"{block}.downsample.1", 1e-5
            )
        values = (inner + values).relu()
    assert_close(network(volume)[0], values)


def test_squeezenet(tmp_path):
    state = randomized(ARCHITECTURES["squeezenet1_1"]().module)
    save_file(state, tmp_path / "squeezenet.safetensors")
    network = load_feature_network(
        "squeezenet1_1", layers=("fire3", "fire4"), weights=tmp_path / "squeezenet.safetensors"
    )

    def convolve(values, name, **options):
        weight, bias = state[f"features.{name}.weight"], state[f"features.{name}.bias"]
        return functional.conv2d(values, weight, bias, **options).relu()

    def fire(values, index):
        values = convolve(values, f"{index}.squeeze")
        wide = convolve(values, f"{index}.expand3x3", padding=1)
        return torch.cat([convolve(values, f"{index}.expand1x1"), wide], dim=1)

    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    values = convolve((images(1, 3, 64, 64) - mean) / deviation, "0", stride=2)
    fire3 = fire(fire(functional.max_pool2d(values, 3, 2, ceil_mode=True), 3), 4)
    fire4 = fire(functional.max_pool2d(fire3, 3, 2, ceil_mode=True), 6)
    found = network(images(1, 3, 64, 64))
    assert_close(found[0], fire3)
    assert_close(found[1], fire4)


# What a user can get wrong


def test_missing_weights_say_where_they_come_from_and_under_which_licence(tmp_path):
    with pytest.raises(BadInputError, match=r"vgg19-dcbb9e9d\.pth from https://download\.pytorch\.org.*BSD-3-Clause"):
        load_feature_network("vgg19", layers=("relu5_4",))
    with pytest.raises(BadInputError, match=r"absent\.pth.*huggingface.*MIT"):
        load_feature_network("medicalnet-resnet10", layers=None, weights=tmp_path / "absent.pth")


def test_weights_of_another_network_are_refused(tmp_path):
    save_file(randomized(torchvision_vgg("64 64 M 128 128 M 256 256 256 256")), tmp_path / "other.safetensors")
    with pytest.raises(BadInputError, match=r"other\.safetensors is not a file of 'vgg16'.*'features\.1[79]\.weight'"):
        load_feature_network("vgg16", layers=("relu4_1",), weights=tmp_path / "other.safetensors")
    state = randomized(torchvision_vgg("64 64"))
    state["features.2.weight"] = torch.zeros(64, 3, 3, 3)
    save_file(state, tmp_path / "shape.safetensors")
    with pytest.raises(BadInputError, match=r"shape \(64, 3, 3, 3\) for 'features\.2\.weight' \(64, 64, 3, 3\)"):
        load_feature_network("vgg16", layers=("relu1_2",), weights=tmp_path / "shape.safetensors")


class _Code:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_file_with_code_is_not_run(tmp_path, capsys):
    torch.save({"features.0.weight": _Code()}, tmp_path / "code.pth")
    with pytest.raises(BadInputError, match=r"code\.pth.*plain tensors"):
        load_feature_network("vgg16", layers=("relu1_1",), weights=tmp_path / "code.pth")
    assert "executed" not in capsys.readouterr().out


def test_unknown_names_list_the_known_ones():
    with pytest.raises(BadInputError, match=r"'vgg'.*brain-mask.*vgg16"):
        load_feature_network("vgg")
    with pytest.raises(BadInputError, match=r"'relu6_1'.*relu4_3"):
        load_feature_network("vgg16", layers=("relu6_1",))


def test_doctor_tells_an_intact_network_from_a_changed_one(monkeypatch):
    from modality_synthesis.doctor import examine

    monkeypatch.setitem(feature_networks.SHIPPED, "brain-mask", Shipped("brain-mask.safetensors", sha256="0" * 64))
    networks = examine()["networks"]
    states = {name: network["state"] for name, network in networks.items()}
    assert states == {"vgg16": "intact", "brain-mask": "changed"}
    assert networks["vgg16"]["sha256"] == feature_networks.SHIPPED["vgg16"].sha256


def test_the_brain_mask_refuses_weights_that_were_changed(monkeypatch):
    from modality_synthesis.preprocessing import brain_mask

    brain_mask._load.cache_clear()
    monkeypatch.setitem(feature_networks.SHIPPED, "brain-mask", Shipped("brain-mask.safetensors", sha256="0" * 64))
    with pytest.raises(HashMismatchError, match=r"brain-mask\.safetensors"):
        brain_mask._load("brain-mask")
