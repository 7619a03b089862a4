"""Two processes with two devices each are one run."""

import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from training_problem import Problem, ingredients

from ntk_prune import training


def train_and_evaluate(problem: Problem) -> list[float]:
    """Losses of the epochs and of the evaluation, under jit on all devices of all processes."""
    step = training.make_train_step(problem.model, problem.optimizer, problem.prepare)
    how = training.distribute(step, "jit")
    epochs = list(training.fit(problem.create(), how, problem.feed(how), 5, problem.rate))
    whole = training.every_example(problem.x, problem.y, 7)
    evaluate = training.make_evaluate(problem.model, whole, lambda x: x.astype("float32"))
    state = epochs[-1].state
    return [*(e.loss for e in epochs), evaluate(state.params, state.model_state)["loss"]]


@pytest.mark.slow
def test_two_processes_train_like_one(problem):
    with socket.socket() as s:
        s.bind(("localhost", 0))
        address = f"localhost:{s.getsockname()[1]}"
    env = {**os.environ, "JAX_NUM_CPU_DEVICES": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, address, str(i)], env=env, stdout=subprocess.PIPE, text=True
        )
        for i in range(2)
    ]
    for process in processes:
        losses = [float(v) for v in process.communicate(timeout=300)[0].splitlines()[-1].split()]
        np.testing.assert_allclose(losses, train_and_evaluate(problem), rtol=1e-5)


if __name__ == "__main__":
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
    with pytest.raises(ValueError, match="one process"):
        training.distribute(lambda *_: ..., "pmap")
    print(*train_and_evaluate(Problem(*ingredients())))
