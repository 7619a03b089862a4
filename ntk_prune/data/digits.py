"""The handwritten digits embedded in scikit-learn: 1,797 real images of 8x8 pixels, no download.

The split is fixed: of the images sorted by class, every fifth is a test image, which gives 1,437
for training and 360 for testing with the same shares of every class to within one image.
"""

import numpy as np

from ntk_prune.data.dataset import Dataset, from_arrays, resize


def load(*, image_size: int | None = None, channels: int | None = None) -> Dataset:
    """The digits as ``uint8 [N, image_size, image_size, channels]``; by default 8x8 and grey.

    Raises ImportError without scikit-learn, ValueError for an impossible size or channel number.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "the digits are embedded in scikit-learn: pip install scikit-learn"
        ) from error
    pixels, y = map(np.asarray, load_digits(return_X_y=True))
    # Grey levels 0..16 of 4x4 blocks become 0..255.
    x = np.rint(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    x = resize(x, image_size)
    train, test = split(y)
    arrays = {
        "x_train": x[train],
        "y_train": y[train],
        "x_test": x[test],
        "y_test": y[test],
        "classes": np.array([str(c) for c in range(10)]),
    }
    return from_arrays("digits", arrays, channels=channels)


def split(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices ``(train, test)``, each ascending: every fifth image of each class is for testing."""
    by_class = np.argsort(y, kind="stable")
    test = np.sort(by_class[::5])
    return np.setdiff1d(np.arange(len(y)), test), test
