"""The CNN: shapes, counts, train and eval modes, the first loss, and that gradients reach every layer."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch.utils.flop_counter import FlopCounterMode

from crosshead.losses import get_loss
from crosshead.nn import CNN, Augmentation, Trainer, TrainingOptions

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 112, 92), (4, 9, 17), (2, 1, 1), (3, 5, 3)]


def random_images(count, shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("pooling", ["average", "max", "flatten"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_table_of_stages_tells_what_pytorch_does(shape, pooling):
    network = CNN(shape, 7, pooling=pooling, convolutions=2).eval()
    stages = network.stages()
    seen = []
    for layer in (*network.body, network.pool):
        layer.register_forward_hook(lambda layer, inputs, output: seen.append(tuple(output.shape[1:])))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        scores = network.scores(random_images(1, shape))
    assert [stage.output for stage in stages] == [shape, *seen, (7,)]
    assert scores.shape == (1, 7)
    assert 2 * sum(stage.operations for stage in stages) == counter.get_total_flops()
    assert sum(stage.parameters for stage in stages) == sum(one.numel() for one in network.parameters())


def by_hand(network, images, training):
    """The features of a network with one stage, from NumPy in float64: no code of PyTorch's layers is used."""
    convolution, norm = network.body[0][0], network.body[0][1]
    x = (images.double() - network.pixel_mean.double()) / network.pixel_std.double()
    x, kernel = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1))), convolution.weight.detach().double().numpy()
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    z = np.einsum("nchwij,kcij->nkhw", windows, kernel)
    if training:
        mean, variance = z.mean((0, 2, 3)), z.var((0, 2, 3))
    else:
        mean, variance = norm.running_mean.double().numpy(), norm.running_var.double().numpy()
    scale, shift = norm.weight.detach().double().numpy(), norm.bias.detach().double().numpy()
    z = (z - mean[:, None, None]) / np.sqrt(variance[:, None, None] + 1e-5) * scale[:, None, None] + shift[
        :, None, None
    ]
    z = np.maximum(z, 0.0)
    n, k, height, width = z.shape
    z = z[:, :, : height // 2 * 2, : width // 2 * 2].reshape(n, k, height // 2, 2, width // 2, 2).max((3, 5))
    return z.mean((2, 3)), mean, variance * n * height * width / (n * height * width - 1)


def test_batch_norm_sees_the_batch_in_training_and_its_memory_afterwards():
    images = random_images(6, (3, 7, 5))
    network = CNN((3, 7, 5), 4, widths=(9,), dropout=0.0)
    network.learn_pixels(images)
    norm = network.body[0][1]
    expected, mean, variance = by_hand(network, images, training=True)
    np.testing.assert_allclose(network.features(images).detach(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.running_mean, 0.1 * mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.running_var, 0.9 + 0.1 * variance, rtol=1e-4)
    network.eval()
    remembered = by_hand(network, images, training=False)[0]
    np.testing.assert_allclose(network.features(images).detach(), remembered, rtol=1e-4, atol=1e-5)
    assert np.abs(remembered - expected).max() > 0.05


def test_pixels_are_brought_to_mean_zero_and_deviation_one():
    images = random_images(37, (2, 5, 3))
    images[:, 1] = 9
    network = CNN((2, 5, 3), 3)
    network.learn_pixels(images, block=10)
    values = images[:, 0].double().numpy()
    assert network.pixel_mean.flatten().tolist() == pytest.approx([values.mean(), 9.0], rel=1e-6)
    assert network.pixel_std.flatten().tolist() == pytest.approx([values.std(), 1.0], rel=1e-6)


def test_dropout_drops_in_training_alone_and_keeps_the_mean():
    images = random_images(1, (1, 8, 8)).expand(4000, 1, 8, 8)
    network = CNN((1, 8, 8), 3, dropout=0.25, widths=(8,))
    network.eval()
    kept = network.features(images)
    assert torch.equal(kept[0], kept[-1])
    network.body.eval()
    network.drop.train()
    dropped = network.features(images)
    positive = kept[0] > 0
    zeros = (dropped[:, positive] == 0).double().mean()
    assert abs(zeros - 0.25) < 0.02
    torch.testing.assert_close(dropped[dropped > 0], (kept[dropped > 0]) / 0.75)
    torch.testing.assert_close(dropped.mean(0), kept[0], rtol=0.1, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 20, 13), (1, 28, 28)])
@pytest.mark.parametrize("pooling", ["average", "max", "flatten"])
def test_the_first_loss_is_ln_c(shape, pooling):
    for classes in (2, 10, 1000):
        network = CNN(shape, classes, pooling=pooling)
        images, target = random_images(32, shape), torch.arange(32) % classes
        network.learn_pixels(images)
        for mode in (True, False):
            assert float(network.train(mode)(images, target).detach()) == pytest.approx(math.log(classes), rel=0.05)


@pytest.mark.parametrize("loss", ["softmax", "binary", "hinge", "squared_hinge", "crammer_singer", "squared_error"])
def test_every_built_in_loss_is_that_of_numpy(loss):
    network, images, target = CNN((1, 9, 9), 5, loss).eval(), random_images(11, (1, 9, 9)), torch.arange(11) % 5
    scores = network.scores(images).detach().double().numpy()
    expected = get_loss(loss).value(scores, target.numpy().astype(np.int32)).mean()
    assert float(network(images, target).detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "head"), [("softmax", {}), ("hinge", {"margin": 2.0}), ("margin", {"m2": 0.3, "scale": 32.0})]
)
def test_sixteen_images_are_overfitted(loss, head):
    images, target = random_images(16, (1, 12, 10)), torch.arange(16) % 4
    network = CNN((1, 12, 10), 4, loss, dropout=0.0, widths=(16, 32), pooling="flatten", **head)
    options = TrainingOptions(epochs=150, batch_size=16, learning_rate=0.01, weight_decay=0.0)
    Trainer(network, options).fit(images, target)
    assert float(network.train()(images, target).detach()) < 1e-3
    assert network.eval().predict(images, 1).classes[:, 0].tolist() == target.tolist()


def test_gradients_reach_every_parameter():
    network, images = CNN((3, 16, 16), 5, convolutions=2), random_images(8, (3, 16, 16))
    network(images, torch.arange(8) % 5).backward()
    assert all(bool((one.grad.abs() > 0).any()) for one in network.parameters())


@pytest.mark.parametrize("loss", ["softmax", "margin"])
def test_bytes_give_the_same_network(loss):
    network = CNN((2, 9, 7), 3, loss, widths=(5, 6), pooling="max", dropout=0.3)
    network(random_images(4, (2, 9, 7)), torch.arange(4) % 3)
    again = CNN.from_bytes(network.to_bytes())
    assert again.settings == network.settings
    assert not again.training
    images = random_images(3, (2, 9, 7), seed=1)
    assert torch.equal(again.scores(images), network.eval().scores(images))
    for damaged in (b"", network.to_bytes()[:-9], CNN((1, 4, 4), 2).to_bytes().replace(b"average", b"nothing")):
        with pytest.raises(ValueError, match="not a network that crosshead wrote"):
            CNN.from_bytes(damaged)


HUGE = 1 << 30


@pytest.mark.parametrize(
    "changes",
    [
        {"widths": [HUGE]},
        {"widths": [1] * 1_000_000},
        {"widths": "ab"},
        {"widths": [5.0, 6]},
        {"widths": None},
        {"convolutions": HUGE},
        {"convolutions": 1 << 70},
        {"num_classes": HUGE},
        {"num_classes": True},
        {"input_shape": [2, HUGE, HUGE], "pooling": "flatten"},
        {"input_shape": [2, 9]},
        {"input_shape": {}},
        {"head": {"device": "cuda"}},
        {"head": {"dtype": "float64"}},
        {"head": {"num_classes": 4}},
        {"head": {"sub_centers": HUGE}, "loss": "margin"},
        {"head": []},
        {"loss": ["softmax"]},
        {"dropout": "much"},
        {"pooling": {}},
        {"more": 1},
    ],
)
def test_settings_that_are_not_those_of_the_tensors(changes, monkeypatch):
    """Whatever sizes they state, no network is made that holds memory."""
    network = CNN((2, 9, 7), 3, widths=(5, 6))
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}

    def content(settings):
        return save(tensors, {"crosshead": json.dumps(settings)})

    assert CNN.from_bytes(content(network.settings)).settings == network.settings
    make = CNN.from_settings

    def on_no_device(settings):
        assert torch.empty(0).device.type == "meta"
        return make(settings)

    monkeypatch.setattr(CNN, "from_settings", on_no_device)
    with pytest.raises(ValueError, match="not a network that crosshead wrote"):
        CNN.from_bytes(content({**network.settings, **changes}))


def test_tensors_of_another_type():
    """Bytes that would grow eightfold as the network's own numbers."""
    network = CNN((2, 9, 7), 3, widths=(5, 6))
    tensors = {name: value.contiguous().to(torch.int8) for name, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=r"is torch\.int8 .*, expected torch\.float32"):
        CNN.from_bytes(save(tensors, {"crosshead": json.dumps(network.settings)}))


def test_the_embedding_for_a_margin_has_length_one():
    network = CNN((1, 8, 8), 3, "margin").eval()
    lengths = network.embedding(random_images(5, (1, 8, 8))).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(5))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (((5, 8, 8), 3), {}, "1 to 4 channels"),
        (((1, 8), 3), {}, "channels, height, width"),
        (((1, 8, 8), 3, "logistic"), {}, "unknown loss 'logistic'; choose one of softmax"),
        (((1, 8, 8), 3), {"pooling": "sum"}, "pooling must be one of average, max, flatten"),
        (((1, 8, 8), 3), {"widths": ()}, "at least 1"),
        (((1, 8, 8), 3), {"convolutions": 0}, "at least 1"),
        (((1, 8, 8), 3), {"m2": 0.5}, "no option 'm2'"),
    ],
)
def test_what_cannot_be_made_is_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        CNN(*arguments, **options)


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"images must have shape \(N, 1, 8, 8\), not \(2, 3, 8, 8\)"):
        CNN((1, 8, 8), 3).features(torch.zeros(2, 3, 8, 8))


def test_a_head_with_a_tensor_has_no_settings():
    with pytest.raises(ValueError, match="'weight' is a tensor"):
        _ = CNN((1, 8, 8), 2, weight=torch.ones(2)).settings


# Augmentation


def changed(images, seed=0, fill=0.0, **options):
    return Augmentation(**options)(images, torch.Generator().manual_seed(seed), fill)


def test_a_shift_moves_and_repeats_the_border():
    image = torch.arange(20.0).view(1, 1, 4, 5)
    expected = set()
    for down in range(-2, 3):
        for across in range(-2, 3):
            rows, columns = np.clip(np.arange(4) + down, 0, 3), np.clip(np.arange(5) + across, 0, 4)
            expected.add(tuple(image[0, 0].numpy()[rows][:, columns].ravel().tolist()))
    found = changed(image.expand(900, 1, 4, 5), shift=2)
    assert {tuple(one.flatten().tolist()) for one in found} == expected


def test_half_of_the_images_are_mirrored():
    images = random_images(400, (3, 5, 4)).float()
    found = changed(images, flip=True)
    mirrored = torch.tensor([torch.equal(one, other.flip(2)) for one, other in zip(found, images, strict=True)])
    same = torch.tensor([torch.equal(one, other) for one, other in zip(found, images, strict=True)])
    assert bool((mirrored ^ same).all())
    assert 150 < int(mirrored.sum()) < 250


def test_a_crop_of_a_plane_is_a_flatter_plane():
    """Bilinear interpolation is exact on a plane: away from borders its slopes shrink by the share of the sides."""
    rows, columns = torch.meshgrid(torch.arange(30.0), torch.arange(40.0), indexing="ij")
    images = (3.0 * rows + 2.0 * columns).view(1, 1, 30, 40).expand(50, 1, 30, 40)
    found = changed(images, crop=0.4)[:, 0, 5:-5, 5:-5]
    down, across = found.diff(dim=1), found.diff(dim=2)
    shares = down[:, 0, 0] / 3.0
    assert bool(((shares > 0.59) & (shares <= 1.0)).all())
    torch.testing.assert_close(down, (3.0 * shares)[:, None, None].expand_as(down), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(across, (2.0 * shares)[:, None, None].expand_as(across), rtol=1e-3, atol=1e-3)


def test_a_square_is_covered():
    images = torch.ones(300, 2, 9, 9)
    fill = torch.tensor([[[5.0]], [[6.0]]])
    found = changed(images, fill=fill, cutout=3)
    covered = found[:, 0] == 5.0
    assert torch.equal(covered, found[:, 1] == 6.0)
    counts = covered.sum((1, 2))
    assert int(counts.max()) == 9
    assert int(counts.min()) >= 4
    assert torch.equal(counts, covered.any(1).sum(1) * covered.any(2).sum(1))


def test_the_same_seed_changes_alike_and_nothing_changes_nothing():
    images = random_images(6, (3, 9, 7)).float()
    options = {"shift": 1, "flip": True, "crop": 0.2, "cutout": 2}
    assert torch.equal(changed(images, 1, **options), changed(images, 1, **options))
    assert not torch.equal(changed(images, 1, **options), changed(images, 2, **options))
    assert torch.equal(changed(images), images)


@pytest.mark.parametrize("options", [{"shift": -1}, {"cutout": -1}, {"crop": 1.0}, {"crop": -0.1}])
def test_impossible_augmentation_is_refused(options):
    with pytest.raises(ValueError, match=r"pixels|share"):
        Augmentation(**options)


def test_a_small_file_asks_for_no_large_maps():
    network = CNN((1, 8, 8), 2, widths=(256,))
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    large = {**network.settings, "input_shape": [1, 2048, 2048]}
    with pytest.raises(ValueError, match="256 maps of 2048×2048"):
        CNN.from_bytes(save(tensors, {"crosshead": json.dumps(large)}))
    with torch.device("meta"):
        assert CNN((4, 2048, 2048), 2).widths[0] == 16
