import pytest
from training_problem import Problem, ingredients


@pytest.fixture
def problem() -> Problem:
    return Problem(*ingredients())


@pytest.fixture
def problem_bfloat16() -> Problem:
    return Problem(*ingredients("bfloat16"))
