"""Memory format and precision change speed, not results."""

from __future__ import annotations

from typing import Any

import pytest
import torch

FAMILY = ["dsvae", "cdsvae", "s3vae", "rwae", "autoencoder:all-in-s"]


@pytest.mark.parametrize("row", FAMILY)
def test_channels_last_gives_the_same_losses_and_gradients(kit: Any, row: str) -> None:
    shape, results = kit.shapes["video"], []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        method = kit.build(row, shape).double().to(memory_format=memory_format)
        batch = kit.batch(shape)
        batch.x, batch.motion_view = batch.x.double(), batch.motion_view.double()
        batch.signal = batch.signal.double()
        terms = method.loss(batch, "model", kit.context(shape))
        terms["total"].backward()
        results.append(
            (
                {name: value.item() for name, value in terms.items()},
                {name: p.grad.contiguous() for name, p in method.named_parameters() if p.grad is not None},
            )
        )
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("row", FAMILY)
def test_bfloat16_autocast_stays_close(kit: Any, row: str) -> None:
    shape, results = kit.shapes["video"], []
    for enabled in (False, True):
        method = kit.build(row, shape)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            results.append(method.loss(kit.batch(shape), "model", kit.context(shape)))
    for name, value in results[0].items():
        assert results[1][name].dtype == torch.float32, name
        assert results[1][name].item() == pytest.approx(value.item(), rel=0.03, abs=0.05), name


def test_a_full_float64_model_keeps_its_precision(kit: Any) -> None:
    shape = kit.shapes["audio"]
    method = kit.build("cdsvae", shape).double()
    batch = kit.batch(shape)
    batch.x, batch.motion_view = batch.x.double(), batch.motion_view.double()
    terms = method.loss(batch, "model", kit.context(shape))
    assert {value.dtype for value in terms.values()} == {torch.float64}
