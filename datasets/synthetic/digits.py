"""Handwritten digits that a dependency ships: the stand-in for MNIST's.

1,797 digits of 8 x 8 pixels and 17 levels (Alpaydin and Kaynak, UCI 1998), in scikit-learn. Real handwriting, but
other writers, and too coarse for published numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BOX = 24  # side that MNIST's 20-pixel box has, to the nearest 8, once 28 pixels are stretched to 32
SIDE = 32
LEVELS = 16.0
SHARPNESS = 9.0


def digit_images() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (1797, 32, 32) uint8, bright on black, and labels (1797,).

    The 8 x 8 counts are enlarged by cubic splines to 24 x 24, sharpened into strokes, and framed in black.
    """
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    digits = load_digits()
    # A margin of one keeps the spline's boundary condition off the strokes that touch the frame.
    padded = np.pad(digits.images / LEVELS, ((0, 0), (1, 1), (1, 1)))
    factor = BOX // 8
    large = zoom(padded, (1, factor, factor), order=3, mode="grid-constant", grid_mode=True)
    large = large[:, factor:-factor, factor:-factor]
    strokes = 1 / (1 + np.exp(-SHARPNESS * (large - 0.5)))
    floor = 1 / (1 + np.exp(SHARPNESS * 0.5))
    strokes = np.clip((strokes - floor) / (1 - 2 * floor), 0, 1)
    margin = (SIDE - BOX) // 2
    framed = np.pad(strokes, ((0, 0), (margin, margin), (margin, margin)))
    return np.rint(framed * 255).astype(np.uint8), digits.target.astype(np.int64)
