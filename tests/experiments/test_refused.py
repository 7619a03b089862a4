"""What does not fit is one line that says what to do, before a run writes anything."""

import numpy as np
import pytest

from experiments import run
from experiments.errors import UserError
from experiments.observers import check_kernel
from ntk_prune.models import mlp

SEGMENTATION, IMAGES = "configs/px_deeplab_voc2012.py:smoke", "configs/px_resnet20.py:smoke"
IMC, THEORY = "configs/imc_lenet_digits.py:smoke", "configs/random_pruning_theory.py:smoke"
SPECTRUM = "configs/spectrum_resnet20.py:smoke"
KERNELS = "configs/kernel_prediction_mlp.py:smoke"


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (
            SEGMENTATION,
            ["model.name=imagenet_resnet", "model.options.depth=18"],
            "model: imagenet_resnet gives one label an image, but digits_segmentation has a label "
            "for each of 32x32 pixels",
        ),
        (
            SEGMENTATION,
            ["data.input_size=48"],
            "model: deeplab gives a label for each of 48x48 pixels, but digits_segmentation has a "
            "label for each of 32x32 pixels",
        ),
        (
            IMAGES,
            ["model.name=deeplab", "model.options.depth=18", "model.options.width=4"],
            "model: deeplab gives a label for each of 16x16 pixels, but digits has one label",
        ),
        (SEGMENTATION, ["prune.name=pxact"], "prune.name: expected another: it takes one label"),
        (SEGMENTATION, ["train.module_rates=bakbone=0.1"], "no parameter lies under 'bakbone'"),
        (SEGMENTATION, ["data.channels=1"], "data: channels=1: digits_segmentation is streamed"),
        (SEGMENTATION, ["data.cache_dir=x"], "data.cache_dir: changes nothing with digits_seg"),
        (
            IMAGES,
            ["train.batch_size=1440"],
            "batch_size 1440 is more than the 1437 training images",
        ),
        (
            SEGMENTATION,
            ["train.drop_last=False"],
            "digits_segmentation is streamed, in full batches",
        ),
        (
            IMAGES,
            ["train.drop_last=False", "train.num_devices=4"],
            "the last 29 images of an epoch do not divide among 4 devices",
        ),
        (IMAGES, ["train.sam_rho=-0.1"], "train.sam_rho: expected 0 or more, got -0.1"),
        (
            "configs/magnitude_resnet20.py:smoke",
            ["prune.options.exclude=classifier"],
            "prune: no weights to exclude lie under 'classifier'",
        ),
        (IMAGES, ["prune.name=none", "prune.control=shuffle"], "prune.control: expected none for"),
        (KERNELS, ["prune.control=shuffle"], "prune.control: expected none or invert"),
        (KERNELS, ["prune.name=none"], "densities: expected 1 alone where prune.name is none"),
        (KERNELS, ["num_images=361"], "num_images: expected at most 360, got 361"),
        (KERNELS, ["densities=1e-9"], "densities: 1e-09 keeps none of the "),
        (IMAGES, ["prune.density=1e-9"], "prune.density: 1e-09 keeps none of the "),
        (SPECTRUM, ["density=1e-9"], "density: 1e-09 keeps none of the "),
        (SPECTRUM, ["num_images=1438"], "num_images: expected at most 1437, the training images"),
        (SPECTRUM, ["model.weights=none.npz"], "model: weights: no such file: none.npz"),
        (KERNELS, ["densities=0.2,0.1,0.2"], "densities: expected each value once"),
        (IMC, ["readings=fast,fast"], "readings: expected each"),
        (IMC, ["spectrum.radii=0.1,0.1"], "spectrum.radii: expected"),
        (THEORY, ["law_widths=64,64"], "law_widths: expected each"),
        (
            "configs/px_resnet50_cifar10.py:smoke",
            ["model.weights=resnet50.pth"],
            "model: weights: no such file: resnet50.pth",
        ),
    ],
)
def test_refused_in_one_line(config, changes, message, tmp_path, capsys):
    check_refused(config, changes, message, tmp_path / "run", capsys)


def check_refused(config, changes, message, workdir, capsys):
    """The run ends with status 2 and one line that holds ``message``, and writes nothing."""
    words = ["--config", config, "--workdir", str(workdir)]
    assert run.main([*words, *(f"--config.{change}" for change in changes)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not workdir.exists()


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        ("three_regime_digits", "dense.sam_rho=-1", "dense.sam_rho: expected 0 or more"),
        ("three_regime_digits", "retrain.batch_size=0", "retrain.batch_size: expected at least 1"),
        ("three_regime_digits", "retrain.batch_size=5000", "retrain: batch_size 5000 is more"),
        ("three_regime_digits", "dense.learning_rate=inf", "dense.learning_rate: expected finite"),
        ("three_regime_digits", "measure.points=1", "measure.points: expected at least 2"),
        ("three_regime_digits", "model.options.widths=0", "widths must be positive"),
        ("imc_lenet_digits", "point.learning_rate=inf", "point.learning_rate: expected finite"),
        (
            "imc_lenet_digits",
            "point.num_examples=100000",
            "point: num_examples 100000 is",
        ),
        ("imc_lenet_digits", "point.num_examples=7", "point.num_examples: expected a positive"),
        ("lottery_lenet_digits", "pretraining.data.channels=2", "pretraining.data.channels: exp"),
    ],
)
def test_the_field_is_named_as_it_is_typed(config, change, message, tmp_path, capsys):
    check_refused(f"configs/{config}.py:smoke", [change], message, tmp_path / "run", capsys)


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        ("kernel_prediction_mlp", "prune.density=0.5", "prune.density: expected 1.0: densities"),
        ("kernel_prediction_mlp", "data.augment=crop", "data.augment: expected 'none': the images"),
        ("kernel_prediction_mlp", "prune.num_examples=200", "prune.num_examples: changes nothing"),
        ("spectrum_resnet20", "data.augment=crop", "data.augment: expected 'none'"),
        ("ntksap_estimators", "data.augment=crop", "data.augment: expected 'none'"),
        ("train_lenet_digits", "data.data_dir=x", "data.data_dir: changes nothing with digits"),
        ("train_lenet_digits", "data.num_workers=2", "data.num_workers: changes nothing with dig"),
        (
            "train_lenet_digits",
            "train.drop_factor=0.5",
            "drop_factor: changes nothing with the",
        ),
        ("train_lenet_digits", "train.sam_adaptive=True", "changes nothing without sam_rho"),
        ("train_lenet_digits", "model.weights_source=timm", "nothing without model.weights"),
        ("ntksap_resnet20", "prune.balanced=True", "changes nothing with ntksap"),
        ("snip_resnet20", "prune.options.schedule=linear", "nothing beside the other options"),
        ("dense_resnet20", "prune.density=0.5", "prune.density: changes nothing where prune.name"),
        ("lottery_lenet_digits", "pretraining.data.image_size=8", "without pretraining.duration"),
        ("lottery_lenet_digits", "strategy.num_examples=200", "strategy.num_examples: changes"),
        ("imc_lenet_digits", "slaved_steps=3", "slaved_steps: changes nothing where rest is zero"),
        ("lottery_branch", "recipe=none", "recipe: no config file configs/none.py"),
    ],
)
def test_what_would_change_nothing(config, change, message, tmp_path, capsys):
    check_refused(f"configs/{config}.py:smoke", [change], message, tmp_path / "run", capsys)


def test_a_kernel_that_does_not_fit_in_memory():
    with pytest.raises(UserError, match="kernel_images: this kernel needs"):
        check_kernel("kernel_images", mlp((4,)), np.zeros((1, 2)), 10**7)


def test_images_that_a_network_reduces_to_nothing(tmp_path, capsys):
    command = ["--config", "configs/snip_resnet20.py:smoke", "--workdir", str(tmp_path / "run"),
               "--config.model.name=clip_resnet", "--config.model.options.width=4",
               "--config.data.image_size=16"]  # fmt: skip
    assert run.main(command) == 2
    line = "error: model: clip_resnet reduces images of 16x16 pixels to nothing; the least is 31x31"
    assert capsys.readouterr().err.strip() == line
    assert not (tmp_path / "run").exists()
