"""Linear probes: what they read and what they can't."""

from __future__ import annotations

import numpy as np

from seqdis.judges import probes


def test_probe_reads_a_linear_code_and_no_other() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (120, 4))
    codes = np.eye(5)[labels] + 0.05 * rng.normal(size=(120, 4, 5))
    static = rng.normal(size=(120, 3))
    labels[:, 0] = -1
    part = (static, codes, labels)
    found = probes.frame_probe(part, part, max_frames=200, rng=rng)
    assert found is not None
    assert found.dynamic > 0.99
    assert found.static < 0.5
    assert 0.15 < found.chance < 0.35
    assert probes.frame_probe((static, codes, np.full((120, 4), -1)), part, max_frames=9, rng=rng) is None


def test_per_frame_repeats_codes_that_cover_several_frames() -> None:
    assert probes.per_frame(np.arange(4.0).reshape(1, 2, 2), 4)[0, :, 0].tolist() == [0, 0, 2, 2]
    assert probes.per_frame(np.ones((3, 7)), 5).shape == (3, 5, 7)
