"""Pictures beside their labels and predictions."""

import numpy as np
import pytest

from experiments.plotting import style
from experiments.plotting.saving import save
from experiments.protocols.segmentation import figures as pictures

CLASSES = tuple(f"class {i}" for i in range(21))


def example(channels=3):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (2, 6, 8, channels), dtype=np.uint8)
    y = np.zeros((2, 6, 8), int)
    y[:, 2:4] = 20
    y[:, 4] = pictures.UNLABELLED
    predicted = np.zeros_like(y)
    predicted[0, 3:] = 7
    return x, y, predicted


@pytest.mark.parametrize("channels", [1, 3])
def test_a_row_per_image_and_a_legend_of_what_occurs(channels):
    figure = pictures.predictions(*example(channels), CLASSES, "voc2012")
    assert len(figure.axes) == 6
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["class 0", "class 7", "class 20", "no label"]


def test_equal_classes_have_equal_colours_and_pixels_without_label_are_grey():
    x, y, _ = example()
    figure = pictures.predictions(x, y, np.where(y == pictures.UNLABELLED, 0, y), CLASSES, "")
    labels, said = (figure.axes[i].images[0].get_array() for i in (1, 2))
    labelled = y[0] != pictures.UNLABELLED
    np.testing.assert_array_equal(labels[labelled], said[labelled])
    assert np.all(np.ptp(labels[~labelled], axis=-1) == 0)
    assert not np.any(np.all(labels[~labelled] == said[~labelled], axis=-1))


def test_every_class_of_voc_has_a_colour_of_its_own():
    assert len(set(style.CLASSES)) == len(style.CLASSES) >= len(CLASSES)


def test_repeats_to_the_byte(tmp_path):
    files = [
        save(pictures.predictions(*example(), CLASSES, "a $ b"), tmp_path / name)[0]
        for name in ("a", "b")
    ]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_what_does_not_fit_is_refused():
    x, y, predicted = example()
    with pytest.raises(ValueError, match="do not fit"):
        pictures.predictions(x, y[:, :-1], predicted, CLASSES, "")
    with pytest.raises(ValueError, match="class 20 has no name: there are 20 names"):
        pictures.predictions(x, y, predicted, CLASSES[:20], "")
