from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tests.support
from celeriac.workloads.nets import NETS
from celeriac.workloads.nets.net import ImageShape, load_net
from celeriac.workloads.nets.resnet18 import Block, group_norm, resnet18
from tasks.errors import ConfigurationError, LoadError, UnknownNameError

DIGITS: ImageShape = (1, 8, 8)
MNIST: ImageShape = (1, 28, 28)
COLOUR: ImageShape = (3, 32, 32)


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def random_images(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize(
    ("name", "shape", "number"),
    [
        ("linear", MNIST, 784 * 10 + 10),
        ("linear", DIGITS, 650),
        ("mlp", MNIST, 784 * 128 + 128 + 1_290),
        ("mlp", DIGITS, 9_610),
        ("2nn", MNIST, 199_210),  # McMahan et al. 2017
        ("2nn", DIGITS, 64 * 200 + 200 + 40_200 + 2_010),
        ("cnn", MNIST, 1_663_370),  # McMahan et al. 2017
        ("cnn", DIGITS, 832 + 51_264 + (64 * 2 * 2) * 512 + 512 + 5_130),
        ("lenet5", MNIST, 156 + 2_416 + 48_120 + 10_164 + 850),  # C1, C3, C5, F6, output
        ("lenet5", COLOUR, 456 + 2_416 + (16 * 6 * 6) * 120 + 120 + 10_164 + 850),
        ("resnet18", COLOUR, 11_173_962),  # with batch normalisation it has as many: see torchvision's, less its stem
        ("resnet18", MNIST, 11_173_962 - 2 * 64 * 9),
        ("resnet18", DIGITS, 11_173_962 - 2 * 64 * 9),
    ],
)
def test_a_net_has_the_number_of_parameters_of_its_paper(name: str, shape: ImageShape, number: int) -> None:
    # Given a net for images of a size, when its parameters are counted, then they are as many
    assert num_parameters(load_net(name, shape, 10)(shape, 10)) == number


@pytest.mark.parametrize("name", sorted(NETS))
@pytest.mark.parametrize(
    ("shape", "batch"),
    [(DIGITS, (3, 64)), (MNIST, (3, 28, 28)), ((1, 29, 33), (3, 1, 29, 33)), (COLOUR, (3, 3, 32, 32))],
)
def test_a_net_returns_logits_for_flat_images_and_others(name: str, shape: ImageShape, batch: tuple[int, ...]) -> None:
    # Given three images, flat or not, of a size that every net but one takes
    if (name, shape) == ("lenet5", DIGITS):
        shape, batch = (1, 12, 12), (3, 144)
    model, inputs = load_net(name, shape, 7)(shape, 7).eval(), random_images(*batch)
    # When they go through the net for seven classes
    with torch.inference_mode():
        outputs, one = model(inputs), model(inputs[:1])
    # Then there are seven logits an image, which don't depend on the images beside it
    assert outputs.shape == (3, 7)
    assert torch.allclose(outputs[:1], one, atol=1e-5)
    assert torch.isfinite(outputs).all()


def test_digits_are_too_small_for_lenet5() -> None:
    # Given images of 8x8, when LeNet-5 is to take them, then the message says which it takes
    with pytest.raises(
        ConfigurationError, match=r"^net 'lenet5' takes images of 12x12 pixels or more, these have 8x8: take another$"
    ):
        load_net("lenet5", DIGITS, 10)


def test_an_unknown_net_is_refused_with_the_nearest_one() -> None:
    # Given a slip, when it is loaded, then the message guesses, and lists what there is
    with pytest.raises(UnknownNameError) as caught:
        load_net("cn", DIGITS, 10)
    assert str(caught.value) == (
        "unknown net 'cn': did you mean 'cnn'? "
        "known are 2nn, cnn, lenet5, linear, mlp, resnet18, or your own as module:name"
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


def test_resnet18_normalises_by_groups_and_has_no_buffers() -> None:
    # Given the net, and it with another normalisation
    model, other = resnet18(MNIST, 10), resnet18(MNIST, 10, nn.BatchNorm2d)
    # Then nothing of it depends on batches that were seen, unless it is asked to: 1 in the stem, 16 in the blocks, 3
    # where the shape changes, as the paper's has
    assert list(model.buffers()) == []
    for kind, net in ((nn.GroupNorm, model), (nn.BatchNorm2d, other)):
        assert sum(isinstance(layer, kind) for layer in net.modules()) == 20
    assert {layer.num_groups for layer in model.modules() if isinstance(layer, nn.GroupNorm)} == {32}


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
    block = Block(64, 64, 1, group_norm)
    last = block.residual[4]
    assert isinstance(last, nn.GroupNorm)
    nn.init.zeros_(last.weight)
    inputs = random_images(2, 64, 5, 5)
    # When inputs go through it, then they come out as they were, negative ones cut off
    assert torch.equal(block(inputs), inputs.clamp(min=0))
