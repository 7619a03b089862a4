"""Every other protocol killed at random moments ends with the same bytes; 60 kills in all."""

import kills
import pytest

SMALL = {
    "imc_lenet_digits": ("others=imp,random", "replicates=1", "rates=gap"),
    "three_regime_digits": (),
    "ntksap_resnet20": ("kernel_images=16", "hessian_images=40"),
    "px_resnet50_cifar10": (),
    "kernel_prediction_mlp": (),
    "random_pruning_theory": (),
}


@pytest.fixture(scope="module")
def processes():
    with kills.processes() as context:
        yield context


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_killed_at_random_moments(processes, tmp_path, name):
    words = [f"--config=configs/{name}.py:smoke", *(f"--config.{word}" for word in SMALL[name])]
    kills.check_killed_at_random(processes, tmp_path, words, kills=10, seed=0)
