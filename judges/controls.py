"""The control that renders the true factors: the best that any method could do under the protocol.

It looks a real clip up instead of decoding one. Keeping the dynamic code is a random clip with the same dynamic
labels, so every static factor is independent of the source clip; keeping the static code is the other way about.
It must reach the judge's ceiling on what is kept and chance on what is drawn (where the test clips hold every pair of
factors equally often); with the two autoencoder controls that hold everything in one code, it proves that the protocol
measures what it says. Controls are never ranked.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqdis.datasets.base import Spec, Split
from seqdis.judges.settings import KEPT, Direction
from seqdis.judges.subjects import Rebuild


class Oracle:
    """The renderer of true factors, examined like a method.

    Args:
        split: clips that it may show, usually the very clips that it is examined on.
    """

    title = "Oracle (control)"

    def __init__(self, split: Split, spec: Spec) -> None:
        self.split = split
        self.spec = spec

    def subject(self, split: Split, device: torch.device) -> OracleSubject:
        """Its answers for the clips of `split`."""
        return OracleSubject(self.split, split, self.spec, device)


class OracleSubject:
    """Looks clips up in `pool` for the clips of `examined`, by their labels."""

    def __init__(self, pool: Split, examined: Split, spec: Spec, device: torch.device) -> None:
        self.pool, self.examined, self.spec, self.device = pool, examined, spec, device

    def reconstruct(self, position: Tensor) -> Tensor:
        return self.examined.clips(position.to(self.examined.device)).to(self.device)

    def draw(self, direction: Direction, generator: torch.Generator) -> Rebuild:
        pool, examined = (torch.zeros(len(split), dtype=torch.long) for split in (self.pool, self.examined))
        for factor in self.spec.by_role(KEPT[direction]):
            pool = pool * factor.n_classes + self.pool.labels[factor.name].cpu()
            examined = examined * factor.n_classes + self.examined.labels[factor.name].cpu()
        chosen = _draw_alike(pool, examined, generator)
        return lambda position: self.pool.clips(chosen[position.cpu()].to(self.pool.device)).to(self.device)


def _draw_alike(pool: Tensor, wanted: Tensor, generator: torch.Generator) -> Tensor:
    """For each wanted class (N,) the position of a random member of `pool` (M,) of that class, drawn uniformly.

    Raises:
        ValueError: a class has no member.
    """
    order = torch.argsort(pool, stable=True)
    classes, counts = torch.unique(pool, return_counts=True)
    starts = counts.cumsum(0) - counts
    place = torch.searchsorted(classes, wanted).clamp(max=len(classes) - 1)
    if not torch.equal(classes[place], wanted):
        raise ValueError("no clip to show has the wanted labels")
    uniform = torch.rand(len(wanted), generator=generator, device=generator.device).cpu()
    # float32 times a large count may round up to the count itself.
    offset = torch.minimum((uniform * counts[place]).long(), counts[place] - 1)
    return order[starts[place] + offset]
