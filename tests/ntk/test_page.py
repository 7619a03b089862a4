"""The page on kernels shows everything that the package offers."""

import re
from pathlib import Path

import pytest

from ntk_prune import ntk

PAGE = (Path(__file__).parents[2] / "docs/kernels.md").read_text()


@pytest.mark.parametrize("name", ntk.__all__)
def test_every_public_name_is_on_the_page(name):
    assert re.search(rf"\b{name}\b", PAGE), f"docs/kernels.md does not say what {name} is"
