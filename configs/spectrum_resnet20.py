"""NTK eigenvalues of ResNet-20 at initialisation, dense and pruned by every criterion.

paper     Wang, Li and Sun, ICLR 2023, arXiv 2304.02840, figure 2: 100 images x 10 outputs,
          CIFAR-10, density 0.262. Which batch-norm mode the figure took is not known; here it is
          frozen at the statistics of the images under each mask
command   python -m experiments.run --config configs/spectrum_resnet20.py --config.data.data_dir=DIR
presets   :digits (embedded data), :smoke (under a minute)
expected  order at the middle of the paper's spectrum, by eye: dense, NTK-SAP, SNIP, then SynFlow,
          magnitude and iterative SNIP close together; not yet measured here
"""

import dataclasses

from configs import common
from experiments.config import DataConfig
from experiments.protocols.spectrum import Spectrum


def get_config(preset: str = "paper") -> Spectrum:
    """The experiment under ``preset``."""
    paper = Spectrum(model=common.model("resnet", depth=20, width=16), data=DataConfig("cifar10"))
    digits = dataclasses.replace(paper, data=DataConfig("digits", image_size=16))
    presets = {
        "paper": paper,
        "digits": digits,
        "smoke": dataclasses.replace(
            digits,
            model=common.model("resnet", depth=8, width=4),
            methods=("snip", "magnitude"),
            num_examples=10,
            num_images=10,
        ),
    }
    return common.pick(preset, **presets)
