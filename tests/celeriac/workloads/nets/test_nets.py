from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tests.support
from celeriac.workloads.nets import NETS
from celeriac.workloads.nets.net import ImageShape, load_net
from celeriac.workloads.nets.norms import group_norm
from celeriac.workloads.nets.residual import Block, basic
from celeriac.workloads.nets.resnet18 import resnet18
from celeriac.workloads.nets.vit import vit
from celeriac.workloads.side_by_side import threads
from tasks.errors import ConfigurationError, LoadError, UnknownNameError

DIGITS: ImageShape = (1, 8, 8)
MNIST: ImageShape = (1, 28, 28)
COLOUR: ImageShape = (3, 32, 32)
IMAGENET: ImageShape = (3, 224, 224)
TOO_SMALL = {"lenet5": 12, "alexnet": 28, "vgg16": 28}
"""Nets that don't take digits, and the least height and width that they take."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Several threads wait for each other, which takes longer where others compute, too."""
    with threads(1):
        yield


def num_parameters(spec: str, shape: ImageShape, num_classes: int) -> int:
    with torch.device("meta"):  # where a model takes no memory
        model = load_net(spec, shape, num_classes)(shape, num_classes)
    return sum(parameter.numel() for parameter in model.parameters())


def vit_base(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """ViT-Base of the paper's table 1."""
    return vit(image_shape, num_classes, dim=768, depth=12, num_heads=12)


def random_images(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize(
    ("spec", "shape", "number"),
    [
        ("linear", MNIST, 784 * 10 + 10),
        ("linear", DIGITS, 650),
        ("mlp", MNIST, 784 * 128 + 128 + 1_290),
        ("mlp", DIGITS, 9_610),
        ("2nn", MNIST, 199_210),  # McMahan et al. 2017
        ("2nn", DIGITS, 64 * 200 + 200 + 40_200 + 2_010),
        ("cnn", MNIST, 1_663_370),  # McMahan et al. 2017
        ("cnn", DIGITS, 832 + 51_264 + (64 * 2 * 2) * 512 + 512 + 5_130),
        # LeCun et al. 1998, "60,000 trainable parameters"; C3 is connected to all of S2 here, and the output is linear
        ("lenet5", MNIST, 156 + 2_416 + 48_120 + 10_164 + 850),  # C1, C3, C5, F6, output
        ("lenet5", (1, 32, 32), 61_706),
        ("lenet5", COLOUR, 456 + 2_416 + 48_120 + 10_164 + 850),
        ("alexnet", COLOUR, 2_472_266),  # "2.47 M" in the README of github.com/bearpaw/pytorch-classification
        ("alexnet", MNIST, 2_472_266 - 2 * 64 * 121),
        (
            "vgg16",
            COLOUR,
            14_728_266 - 2 * 4_224,
        ),  # github.com/kuangliu/pytorch-cifar, less its norms of 4,224 channels
        ("vgg16:batch", COLOUR, 14_728_266),
        ("vgg16:group", COLOUR, 14_728_266),
        ("vgg16", MNIST, 14_728_266 - 2 * 4_224 - 2 * 64 * 9),
        ("resnet18", COLOUR, 11_173_962),  # github.com/kuangliu/pytorch-cifar
        ("resnet18:batch", COLOUR, 11_173_962),
        ("resnet18", MNIST, 11_173_962 - 2 * 64 * 9),
        ("resnet18", DIGITS, 11_173_962 - 2 * 64 * 9),
        ("resnet50", COLOUR, 23_520_842),  # github.com/kuangliu/pytorch-cifar
        ("resnet50:batch", COLOUR, 23_520_842),
        ("resnet50", MNIST, 23_520_842 - 2 * 64 * 9),
        # by hand: patches, class token, positions, four blocks (attention, MLP, two norms), the head's norm, the head
        ("vit", MNIST, 1_088 + 64 + 50 * 64 + 4 * (16_640 + 33_088 + 256) + 128 + 650),
        ("vit", COLOUR, (3 * 16 * 64 + 64) + 64 + 65 * 64 + 4 * (16_640 + 33_088 + 256) + 128 + 650),
    ],
)
def test_a_net_has_the_number_of_parameters_of_its_paper(spec: str, shape: ImageShape, number: int) -> None:
    # Given a net for images of a size, when its parameters are counted, then they are as many
    assert num_parameters(spec, shape, 10) == number


@pytest.mark.parametrize(
    ("spec", "number"),
    [
        ("alexnet", 61_100_840),  # torchvision's alexnet, of Krizhevsky 2014
        ("vgg16", 138_357_544),  # torchvision's vgg16; "138 million" in Simonyan and Zisserman 2015, table 2
        ("vgg16:batch", 138_365_992),  # torchvision's vgg16_bn
        ("resnet18", 11_689_512),  # torchvision's resnet18
        ("resnet50", 25_557_032),  # torchvision's resnet50
        ("resnet50:batch", 25_557_032),
        (f"{__name__}:vit_base", 86_567_656),  # torchvision's vit_b_16; "86M" in Dosovitskiy et al. 2021, table 1
    ],
)
def test_for_imagenet_a_net_has_its_papers_stem_and_head(spec: str, number: int) -> None:
    # Given colour images of 224x224 pixels in a thousand classes, when parameters are counted, then they are as many
    assert num_parameters(spec, IMAGENET, 1_000) == number


@pytest.mark.parametrize("name", [*sorted(NETS), "resnet50:batch", "vgg16:group"])
@pytest.mark.parametrize(
    ("shape", "batch"),
    [(DIGITS, (3, 64)), (MNIST, (3, 28, 28)), ((1, 29, 33), (3, 1, 29, 33)), (COLOUR, (3, 3, 32, 32))],
)
def test_a_net_returns_logits_for_flat_images_and_others(name: str, shape: ImageShape, batch: tuple[int, ...]) -> None:
    # Given three images, flat or not, of a size that a net takes
    if shape == DIGITS and (least := TOO_SMALL.get(name.partition(":")[0])):
        shape, batch = (1, least, least), (3, least * least)
    model, inputs = load_net(name, shape, 7)(shape, 7).eval(), random_images(*batch)
    # When they go through the net for seven classes
    with torch.inference_mode():
        outputs, one = model(inputs), model(inputs[:1])
    # Then there are seven logits an image, which don't depend on the images beside it
    assert outputs.shape == (3, 7)
    assert torch.allclose(outputs[:1], one, atol=1e-5)
    assert torch.isfinite(outputs).all()


@pytest.mark.parametrize(("name", "least"), TOO_SMALL.items())
def test_digits_are_too_small_for_some(name: str, least: int) -> None:
    # Given images of 8x8, when a net is to take them that can't, then the message says which it takes
    with pytest.raises(
        ConfigurationError,
        match=rf"^net '{name}' takes images of {least}x{least} pixels or more, these have 8x8: take another$",
    ):
        load_net(name, DIGITS, 10)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            "lenet5:batch",
            "net 'lenet5:batch': lenet5 takes nothing after a colon, as resnet18[:NORM], resnet50[:",
        ),
        ("alexnet:", "net 'alexnet:': alexnet takes nothing after a colon, as resnet18[:NORM], "),
        (
            "tests.support:pull:batch",
            "net 'tests.support:pull:batch': tests.support:pull takes nothing after a colon",
        ),
        (
            "resnet18:bach",
            "net 'resnet18:bach': 'bach' is no normalisation: did you mean 'batch'? known are ",
        ),
        (
            "vgg16:batch:2",
            "net 'vgg16:batch:2': 'batch:2' is no normalisation: did you mean 'batch'? known ",
        ),
    ],
)
def test_a_normalisation_that_a_net_doesnt_take_is_refused(spec: str, told: str) -> None:
    # Given another, or one for a net that takes none, when it is loaded, then the message says what may be written
    with pytest.raises(ConfigurationError) as caught:
        load_net(spec, COLOUR, 10)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(
    ("spec", "kind", "number"),
    [
        ("resnet18", nn.GroupNorm, 20),
        ("resnet18:batch", nn.BatchNorm2d, 20),
        ("resnet50", nn.GroupNorm, 53),
        ("resnet50:batch", nn.BatchNorm2d, 53),
        ("vgg16", nn.GroupNorm, 0),
        ("vgg16:group", nn.GroupNorm, 13),
        ("vgg16:batch", nn.BatchNorm2d, 13),
    ],
)
def test_each_convolution_is_normalised_as_the_name_says(spec: str, kind: type[nn.Module], number: int) -> None:
    # Given a net, when its normalisations are counted, then one follows each convolution
    model = load_net(spec, MNIST, 10)(MNIST, 10)
    norms = [layer for layer in model.modules() if isinstance(layer, nn.GroupNorm | nn.BatchNorm2d)]
    assert [type(layer) for layer in norms] == [kind] * number
    assert len(list(model.buffers())) == (3 * number if kind is nn.BatchNorm2d else 0)
    assert {layer.num_groups for layer in norms if isinstance(layer, nn.GroupNorm)} <= {32}


def test_an_unknown_net_is_refused_with_the_nearest_one() -> None:
    # Given a slip, when it is loaded, then the message guesses, and lists what there is
    with pytest.raises(UnknownNameError) as caught:
        load_net("cn", DIGITS, 10)
    assert str(caught.value) == (
        "unknown net 'cn': did you mean 'cnn'? "
        "known are 2nn, alexnet, cnn, lenet5, linear, mlp, resnet18, resnet50, vgg16, vit, or your own as module:name"
    )


def test_a_net_of_ones_own_is_made_from_shape_and_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a function in a module
    def two_values(image_shape: ImageShape, num_classes: int) -> nn.Module:
        return nn.Bilinear(image_shape[1], image_shape[2], num_classes)

    monkeypatch.setattr(tests.support, "two_values", two_values, raising=False)
    # When it is named, then it is the net
    model = load_net("tests.support:two_values", (1, 5, 6), 4)((1, 5, 6), 4)
    assert model.weight.shape == (4, 5, 6)
    # And what is no function is refused
    with pytest.raises(LoadError, match=r"net 'tests.support:PULL' is str, not a function"):
        load_net("tests.support:PULL", DIGITS, 10)


def test_looking_a_net_up_leaves_torchs_generator_as_it_was() -> None:
    # Given the state of torch's generator
    before = torch.get_rng_state()
    # When a net is looked up that makes a model to see that it can, then it is the same
    load_net("linear", (1, 3, 5), 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_convolutions_of_the_cnn_keep_the_size_and_pooling_halves_it() -> None:
    # Given the CNN for MNIST
    sizes: list[tuple[int, ...]] = []
    model = load_net("cnn", MNIST, 10)(MNIST, 10)
    for layer in model.children():
        layer.register_forward_hook(lambda _layer, _inputs, outputs: sizes.append(tuple(outputs.shape[1:])))
    # When an image goes through it
    model(random_images(1, 28, 28))
    # Then the layers have the sizes that the paper's number of parameters needs
    assert list(dict.fromkeys(sizes)) == [
        (1, 28, 28), (32, 28, 28), (32, 14, 14), (64, 14, 14), (64, 7, 7), (3_136,), (512,), (10,),
    ]  # fmt: skip


# ResNet-18


def test_resnet18_has_a_stem_that_keeps_the_size_and_halves_it_three_times() -> None:
    # Given the net and the outputs of its blocks
    sizes: list[tuple[int, ...]] = []
    model = resnet18(MNIST, 10)
    for layer in model.modules():
        if isinstance(layer, Block):
            layer.register_forward_hook(lambda _layer, _inputs, outputs: sizes.append(tuple(outputs.shape[1:])))
    # When an image goes through it, then there are two blocks of each stage
    model(random_images(1, 28, 28))
    assert sizes == [size for size in [(64, 28, 28), (128, 14, 14), (256, 7, 7), (512, 4, 4)] for _ in range(2)]


def test_a_block_is_its_residual_on_top_of_its_inputs() -> None:
    # Given a block whose last normalisation multiplies by zero
    block = basic(64, 64, 1, group_norm)
    [*_, last] = block.residual.children()
    assert isinstance(last, nn.GroupNorm)
    nn.init.zeros_(last.weight)
    inputs = random_images(2, 64, 5, 5)
    # When inputs go through it, then they come out as they were, negative ones cut off
    assert torch.equal(block(inputs), inputs.clamp(min=0))


# The larger nets


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_images_of_28_pixels_are_put_into_the_middle_of_32(name: str) -> None:
    # Given an image, and it with two zeros on each side
    small, large = (load_net(name, shape, 10)(shape, 10).eval() for shape in (MNIST, (1, 32, 32)))
    small.load_state_dict(large.state_dict())
    image = random_images(1, 1, 28, 28)
    # When they go through the nets for either with the same weights, then their logits are equal
    with torch.inference_mode():
        assert torch.equal(small(image), large(nn.functional.pad(image, (2, 2, 2, 2))))


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_deep_nets_without_normalisation_begin_with_signals_that_pass(name: str) -> None:
    # Given a new net
    torch.manual_seed(1)
    model = load_net(name, COLOUR, 10)(COLOUR, 10).eval()
    # When images of unit variance go through it, then the logits are neither lost nor blown up
    with torch.inference_mode():
        assert 0.1 < model(random_images(8, 3, 32, 32)).std() < 10


def test_the_transformer_sees_where_a_patch_is() -> None:
    # Given an image, and it upside down
    torch.manual_seed(1)
    model = load_net("vit", MNIST, 10)(MNIST, 10).eval()
    image = random_images(1, 1, 28, 28)
    # When both go through, then their logits differ, although the patches' contents would be the same in another order
    blocks = image.unfold(2, 4, 4)
    with torch.inference_mode():
        assert not torch.allclose(model(image), model(blocks.flip(2).transpose(3, 4).reshape(1, 1, 28, 28)), atol=1e-3)
