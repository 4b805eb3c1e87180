"""The trainer: its objective, its options, its stops, and that a killed run goes on to the same weights."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

import crosshead
from crosshead.nn import CNN, Augmentation, ClassificationHead, Trainer, TrainingOptions
from crosshead.nn.training import checkpoint
from crosshead.nn.training.checkpoint import CHECKPOINT, HISTORY, CheckpointError
from crosshead.nn.training.trainer import DivergedError, ResumeWarning

CLASSES = 3


def data(count=50, seed=0):
    """Images whose class is the third of the rows that is bright."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, CLASSES, (count,), generator=generator)
    images = torch.randint(0, 100, (count, 1, 6, 6), dtype=torch.uint8, generator=generator)
    for image, own in zip(images, target, strict=True):
        image[:, 2 * own : 2 * own + 2] += 100
    return images, target


class Plain(nn.Module):
    """Pixels and a head: no batch norm, so that a step does not depend on how its images are grouped."""

    def __init__(self, loss="softmax"):
        super().__init__()
        self.flatten, self.head = nn.Flatten(), ClassificationHead(36, CLASSES, loss)

    def features(self, images):
        return self.flatten(images) / 255


def fitted(options=None, network=None, validation=None, **others):
    torch.manual_seed(0)
    network = network or CNN((1, 6, 6), CLASSES, widths=(4, 8))
    trained = Trainer(network, options or TrainingOptions(epochs=2, batch_size=16), **others).fit(*data(), validation)
    return network, trained


def weights_of(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_seeded_runs_repeat_bit_for_bit_and_leave_global_randomness_alone():
    options = TrainingOptions(epochs=2, batch_size=16, augmentation=Augmentation(1, True, 0.1, 2))
    torch.manual_seed(5)
    expected = torch.rand(3)
    one = weights_of(fitted(options)[0])
    torch.manual_seed(5)
    network = CNN.from_settings(CNN((1, 6, 6), CLASSES, widths=(4, 8)).settings)
    torch.manual_seed(5)
    Trainer(network, options).fit(*data())
    assert torch.equal(torch.rand(3), expected)
    assert same(one, weights_of(fitted(options)[0]))
    other = TrainingOptions(epochs=2, batch_size=16, augmentation=Augmentation(1, True, 0.1, 2), seed=1)
    assert not same(one, weights_of(fitted(other)[0]))


CHANGES = [
    {"epochs": 3},
    {"batch_size": 20},
    {"accumulate": 2},
    {"optimizer": "sgd"},
    {"learning_rate": 0.02},
    {"warmup": 0.5},
    {"weight_decay": 0.5},
    {"head_l1": 0.1},
    {"head_l2": 0.1},
    {"balanced": True},
    {"clip": 0.01},
    {"augmentation": Augmentation(shift=1)},
    {"augmentation": Augmentation(flip=True)},
    {"augmentation": Augmentation(crop=0.3)},
    {"augmentation": Augmentation(cutout=2)},
    {"seed": 1},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_option_is_read(change):
    usual = {"epochs": 2, "batch_size": 16}
    one = weights_of(fitted(TrainingOptions(**usual))[0])
    assert not same(one, weights_of(fitted(TrainingOptions(**{**usual, **change}))[0]))


def test_momentum_is_read():
    rates = {
        weights_of(fitted(TrainingOptions(1, 16, optimizer="sgd", momentum=m))[0])["head.weight"] for m in (0.0, 0.9)
    }
    assert not torch.equal(*rates)


def test_a_step_is_that_of_pytorch():
    """One step of SGD on all rows, against autograd on PyTorch's own cross-entropy with weights and penalty."""
    network, (images, target) = Plain(), data(30)
    weight = network.head.weight.detach().clone().requires_grad_()
    bias = network.head.bias.detach().clone().requires_grad_()
    counts = torch.bincount(target, minlength=CLASSES)
    scores = images.flatten(1) / 255 @ weight.T + bias
    loss = nn.functional.cross_entropy(scores, target, weight=1 / counts)
    (loss + 0.03 * weight.abs().sum() + 0.02 / 2 * weight.square().sum()).backward()
    options = TrainingOptions(
        1, 30, 4, "sgd", 0.1, 0.0, 0.0, head_l1=0.03, head_l2=0.02, balanced=True, clip=None, weight_decay=0.7
    )
    Trainer(network, options).fit(images, target)
    torch.testing.assert_close(network.head.weight, weight - 0.1 * weight.grad)
    torch.testing.assert_close(network.head.bias, bias - 0.1 * bias.grad)


def test_clipping_bounds_the_step():
    network, (images, target) = Plain(), data(30)
    before = weights_of(network)
    Trainer(network, TrainingOptions(1, 30, 1, "sgd", 1.0, 0.0, 0.0, clip=0.01)).fit(images, target)
    after = weights_of(network)
    moved = math.sqrt(sum(float((after[name] - before[name]).square().sum()) for name in before))
    assert moved == pytest.approx(0.01, rel=1e-3)


def test_the_rate_rises_and_falls():
    options = TrainingOptions(learning_rate=1.0, warmup=0.25)
    rates = [options.rate(step, 100) for step in range(100)]
    assert rates[:25] == pytest.approx([(step + 1) / 25 for step in range(25)])
    assert rates[25:] == pytest.approx([math.cos(math.pi / 2 * step / 75) ** 2 for step in range(75)])


def test_decay_is_on_convolutions_alone():
    network = CNN((1, 6, 6), CLASSES)
    groups = TrainingOptions(weight_decay=0.3).make_optimizer(network).param_groups
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]
    assert {one.dim() for one in groups[0]["params"]} == {4}
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))


def test_patience_ends_the_training_with_the_best_weights():
    """Validation labels that contradict training: the loss there only rises once training learns anything."""
    images, target = data()
    options = TrainingOptions(epochs=40, batch_size=16, patience=3, warmup=0.0)
    network, trained = fitted(options, validation=(images, (target + 1) % CLASSES))
    assert trained.stopped_early
    assert trained.epochs == trained.epoch_of_weights + 3 < 40
    best = min(moment.validation_loss for moment in trained.history if moment.validation_loss is not None)
    found = float(network(images, (target + 1) % CLASSES).detach())
    assert found == pytest.approx(best, rel=1e-3)


def test_without_patience_the_last_weights_stay():
    _, trained = fitted(validation=data(20, 1))
    assert (trained.epochs, trained.epoch_of_weights, trained.stopped_early) == (2, 2, False)


def test_the_history_file_holds_what_was_shown(tmp_path):
    shown = []
    _, trained = fitted(validation=data(20, 1), folder=tmp_path, watch=lambda moment, *_: shown.append(moment))
    lines = [json.loads(line) for line in (tmp_path / HISTORY).read_text().splitlines()]
    assert lines == [vars(moment) for moment in shown] == [vars(moment) for moment in trained.history]
    text = shown[-1].line(2, 8)
    assert f"loss {lines[-1]['loss']:g}  validation loss {lines[-1]['validation_loss']:g}" in text
    assert f"error {100 * lines[-1]['validation_error']:.2f} %" in text
    assert lines[-1]["step"] == 8


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_images():
    network, (images, target) = Plain(), data(20)
    values = images.float()
    values[7] = math.nan
    options = TrainingOptions(epochs=1, batch_size=5)
    with pytest.raises(DivergedError, match=r"the loss is nan at step \d .*try a lower learning rate") as caught:
        Trainer(network, options, name=lambda row: f"image-{row}.png").fit(values, target)
    assert "image-7.png" in str(caught.value)
    assert all(bool(value.isfinite().all()) for value in network.state_dict().values())


def test_a_gradient_that_is_not_finite_stops_too():
    network, (images, target) = Plain(), data(8)
    network.head.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(DivergedError, match=r"the gradient is (nan|inf) at step 1 \(epoch 1\), on .* and 3 more"):
        Trainer(network, TrainingOptions(1, 8)).fit(images, target)


def test_a_validation_loss_that_is_not_finite_stops_before_it_is_kept(tmp_path):
    images, target = data(20)
    others = images[:4].float()
    others[1] = math.inf
    trainer = Trainer(Plain(), TrainingOptions(1, 10), folder=tmp_path)
    with pytest.raises(
        DivergedError, match=r"the validation loss is (nan|inf) after step 2 \(epoch 1\).*learning rate"
    ):
        trainer.fit(images, target, (others, target[:4]))
    assert not (tmp_path / CHECKPOINT).exists()
    assert "NaN" not in (tmp_path / HISTORY).read_text()


@pytest.mark.parametrize("count", [1, 2, 17])
def test_odd_numbers_of_images(count):
    images, target = data(count)
    network = CNN((1, 6, 6), CLASSES, widths=(4,))
    Trainer(network, TrainingOptions(epochs=1, batch_size=16)).fit(images, target)
    assert bool(network.scores(images).isfinite().all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"optimizer": "lion"}, "optimizer must be one of adamw, sgd"),
        ({"batch_size": 2, "accumulate": 3}, "empty parts"),
        ({"warmup": 1.5}, r"warmup is a share of the steps, from 0 to 1, not 1\.5"),
        ({"momentum": 1.0}, r"momentum must be at least 0 and below 1, not 1\.0"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"clip": 0.0}, "clip must be above 0"),
        ({"patience": 0}, "patience must be at least 1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TrainingOptions(**options)


def test_patience_needs_validation():
    with pytest.raises(ValueError, match="give validation images"):
        fitted(TrainingOptions(patience=1))


def test_sampled_heads_are_refused():
    with pytest.raises(ValueError, match="sample_rate < 1"):
        Trainer(CNN((1, 6, 6), CLASSES, "margin", sample_rate=0.5))


# Checkpoints

SHORT, LONG = TrainingOptions(epochs=2, batch_size=16), TrainingOptions(epochs=3, batch_size=16)


def test_a_folder_with_another_training_is_refused(tmp_path):
    fitted(SHORT, folder=tmp_path)
    with pytest.raises(CheckpointError, match="other options or other images"):
        fitted(LONG, folder=tmp_path, resume=True)
    with pytest.raises(CheckpointError, match="other options"):
        fitted(SHORT, CNN((1, 6, 6), CLASSES, widths=(4, 8), dropout=0.2), folder=tmp_path, resume=True)
    fitted(LONG, folder=tmp_path)  # a finished one is replaced


def test_a_finished_training_resumes_to_itself(tmp_path):
    one, _ = fitted(SHORT, folder=tmp_path)
    torch.manual_seed(9)
    other, trained = fitted(SHORT, folder=tmp_path, resume=True)
    assert same(weights_of(one), weights_of(other))
    assert trained.resumed_after == 2


DEEP = safetensors.torch.save({"a": torch.zeros(1)}, {"crosshead": "[" * 100_000})


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0\0\0\0\0{}", b"not a checkpoint", DEEP])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors: not a checkpoint, or a damaged one"):
        fitted(SHORT, folder=tmp_path, resume=True)


@pytest.mark.parametrize("share", [0.001, 0.02, 0.3, 0.9, 0.99999])
@pytest.mark.parametrize("resume", [False, True])
def test_a_checkpoint_cut_short_is_refused_and_left_alone(tmp_path, share, resume):
    fitted(SHORT, folder=tmp_path)
    path = tmp_path / CHECKPOINT
    cut, history = path.read_bytes(), (tmp_path / HISTORY).read_bytes()
    cut = cut[: int(share * len(cut))]
    path.write_bytes(cut)
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors: not a checkpoint, or a damaged one") as caught:
        fitted(SHORT, folder=tmp_path, resume=resume)
    assert "\n" not in str(caught.value)
    assert (path.read_bytes(), (tmp_path / HISTORY).read_bytes()) == (cut, history)


def test_an_altered_checkpoint_is_refused(tmp_path):
    """Weights, and what is said of them: one bit of either."""
    fitted(SHORT, folder=tmp_path)
    path = tmp_path / CHECKPOINT
    content = path.read_bytes()
    for place in (content.index(b'\\"step\\": ') + 10, len(content) - 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(CheckpointError, match="its contents are not those that were written"):
            fitted(SHORT, folder=tmp_path, resume=True)


def interrupted(folder, network=None, options=LONG, after=1):
    """A training that Ctrl-C ends in the epoch after ``after``."""

    def watch(moment, *_):
        if moment.epoch > after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(options, network, folder=folder, watch=watch)


def test_a_history_cut_in_a_line_is_mended(tmp_path):
    interrupted(tmp_path)
    path = tmp_path / HISTORY
    path.write_bytes(path.read_bytes()[:-20])
    _, trained = fitted(LONG, folder=tmp_path, resume=True)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [vars(moment) for moment in trained.history]
    assert [line["step"] for line in lines] == list(range(1, 13))
    path.unlink()
    fitted(LONG, folder=tmp_path, resume=True)
    assert [json.loads(line) for line in path.read_text().splitlines()] == lines


@pytest.fixture
def threads():
    """Two threads, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def in_pieces():
    """A network wide enough that threads share its work."""
    return CNN((1, 6, 6), CLASSES, widths=(64, 64), dropout=0.0)


@pytest.mark.usefixtures("threads")
def test_a_resumed_training_takes_the_threads_that_it_was_begun_with(tmp_path):
    torch.set_num_threads(1)
    whole = weights_of(fitted(LONG, in_pieces())[0])
    interrupted(tmp_path, in_pieces())
    torch.set_num_threads(2)
    seen = []
    with pytest.warns(ResumeWarning, match=r"was begun with 1 thread and goes on so, not with 2"):
        network, trained = fitted(
            LONG, in_pieces(), folder=tmp_path, resume=True, watch=lambda *_: seen.append(torch.get_num_threads())
        )
    assert set(seen) == {trained.threads} == {1}
    assert torch.get_num_threads() == 2
    assert same(whole, weights_of(network))


def rewritten(path, change):
    """The checkpoint with another document and no digest."""
    found = checkpoint.read_checkpoint(path.parent)
    document = {name: value for name, value in found.document.items() if name != checkpoint.DIGEST}
    change(document)
    path.write_bytes(safetensors.torch.save(dict(found.tensors), {"crosshead": json.dumps(document)}))


def test_other_programs_are_told(tmp_path):
    interrupted(tmp_path)
    rewritten(tmp_path / CHECKPOINT, lambda document: document["surroundings"].update(programs="PyTorch 1.0 (NONE)"))
    with pytest.warns(ResumeWarning, match=r"was begun by PyTorch 1\.0 \(NONE\), and goes on by PyTorch .*last digits"):
        fitted(LONG, folder=tmp_path, resume=True)


def test_checkpoints_that_say_less_are_read(tmp_path):
    """Those of earlier versions have neither digest nor surroundings."""
    interrupted(tmp_path)
    rewritten(tmp_path / CHECKPOINT, lambda document: document.pop("surroundings"))
    network, trained = fitted(LONG, folder=tmp_path, resume=True)
    assert trained.resumed_after == 1
    assert same(weights_of(fitted(LONG)[0]), weights_of(network))


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("task"),
        lambda document: document.update(state=[]),
        lambda document: document["state"].update(epoch="1"),
        lambda document: document["state"].update(step=-1),
        lambda document: document["state"].update(history=[{"loss": 1}]),
        lambda document: document["state"].update(unknown=1),
        lambda document: document.update(surroundings={"threads": 10**9}),
        lambda document: document.update(surroundings={"threads": "1"}),
        lambda document: document.update(surroundings=[]),
    ],
)
def test_checkpoints_that_somebody_else_wrote_are_refused(tmp_path, change):
    interrupted(tmp_path)
    rewritten(tmp_path / CHECKPOINT, change)
    with pytest.raises(CheckpointError, match="remove the folder"):
        fitted(LONG, folder=tmp_path, resume=True)


@pytest.mark.parametrize("part", [checkpoint.OPTIMIZER, checkpoint.NETWORK, checkpoint.BEST])
def test_checkpoints_of_other_shapes_are_refused(tmp_path, part):
    interrupted(tmp_path)
    path = tmp_path / CHECKPOINT
    found = checkpoint.read_checkpoint(tmp_path)
    tensors = {
        name: value[:1] if name.startswith(part) and value.dim() else value for name, value in found.tensors.items()
    }
    tensors |= {f"{checkpoint.BEST}head.bias": torch.zeros(1)} if part == checkpoint.BEST else {}
    document = {name: value for name, value in found.document.items() if name != checkpoint.DIGEST}
    path.write_bytes(safetensors.torch.save(tensors, {"crosshead": json.dumps(document)}))
    with pytest.raises(CheckpointError, match="does not fit the training"):
        fitted(LONG, folder=tmp_path, resume=True)


KILLED = """
import hashlib, os, signal, sys
from pathlib import Path
import safetensors.torch, torch, torch._dynamo  # here, once for all children: they would load them one by one
from crosshead.nn import CNN, Augmentation, Trainer, TrainingOptions
from crosshead.nn.training import checkpoint

torch.set_num_threads(1)
folder, optimizer = Path(sys.argv[1]), sys.argv[2]


def train(place, kill=None, where=None):
    def watch(moment, *_):
        if where is None and kill is not None and moment.step >= kill:
            os.kill(os.getpid(), signal.SIGKILL)

    if where is not None:  # in the middle of replacing a checkpoint, before or after it is in place
        true, count = os.replace, [0]

        def replace(one, other):
            if str(other).endswith(checkpoint.CHECKPOINT):
                count[0] += 1
                if count[0] == kill and where == "before":
                    os.kill(os.getpid(), signal.SIGKILL)
            true(one, other)
            if str(other).endswith(checkpoint.CHECKPOINT) and count[0] == kill:
                os.kill(os.getpid(), signal.SIGKILL)

        os.replace = replace
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (40, 1, 6, 6), dtype=torch.uint8, generator=generator)
    target = torch.randint(0, 3, (40,), generator=generator)
    torch.manual_seed(0)
    network = CNN((1, 6, 6), 3, widths=(4, 6), dropout=0.3)
    options = TrainingOptions(
        epochs=5, batch_size=10, accumulate=2, optimizer=optimizer, patience=4,
        augmentation=Augmentation(1, True, 0.2, 2),
    )
    Trainer(network, options, folder=place, resume=True, watch=watch).fit(
        images[:30], target[:30], (images[30:], target[30:])
    )
    content = b"".join(value.numpy().tobytes() for value in network.state_dict().values())
    (place / "done").write_text(hashlib.sha256(content).hexdigest())


def run(*arguments):
    child = os.fork()  # torch has computed nothing yet, so there are no threads to lose
    if not child:
        train(*arguments)
        os._exit(0)
    return os.waitpid(child, 0)[1]


assert run(folder / "whole") == 0
broken = folder / "broken"
kills = [(1,), (4, None), (7,), (1, "before"), (9,), (1, "after"), (11,), (2, "before"), (13,), (15,)]
print(sum(run(broken, *kill) == signal.SIGKILL for kill in kills), run(broken))
print((folder / "whole" / "done").read_text() == (broken / "done").read_text())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_run_killed_ten_times_ends_with_the_same_weights(tmp_path, optimizer):
    environment = {**os.environ, "PYTHONPATH": str(Path(crosshead.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, str(tmp_path), optimizer]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["10 0", "True"]
    names = {entry.name for entry in (tmp_path / "broken").iterdir()}
    assert names == {CHECKPOINT, HISTORY, "done"}
    assert (tmp_path / "broken" / HISTORY).read_text().count("\n") == 15
