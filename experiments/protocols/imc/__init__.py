"""IMC: the spectrum at W*, its gap, the masks it gives, and their training beside others."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.protocols.imc.config import Imc
from experiments.protocols.imc.run import costs, run_imc
from experiments.protocols.protocol import Protocol

if TYPE_CHECKING:
    from experiments.presentation import Presentation
    from experiments.references import Reference
    from experiments.runs import Run


def show_spectra(runs: "Sequence[Run]", published: "Sequence[Reference]") -> "Presentation":
    """What the report shows of these runs together."""
    from experiments.protocols.imc import presentation  # slow to import

    return presentation.present(runs, published)


PROTOCOL = Protocol(Imc, run_imc, costs, show_spectra)
