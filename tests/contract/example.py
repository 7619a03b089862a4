"""The pruner that CONTRIBUTING.md shows, imported from the page itself."""

import importlib.util
import re
import tempfile
import textwrap
from pathlib import Path

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"


def contributed(name: str = "mine"):
    """The factory ``name`` out of the first Python block of the page."""
    page = CONTRIBUTING.read_text()
    block = re.search(r"^( *)```python\n(.*?)^\1```", page, re.DOTALL | re.MULTILINE)
    assert block is not None
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / f"{name}.py"
        file.write_text(textwrap.dedent(block[2]))
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return getattr(module, name)
