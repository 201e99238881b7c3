"""Studies: which rows each table compares, said once. What a table shows of them is `tables`'; no torch here."""

from __future__ import annotations

import dataclasses

from seqdis.bench.core.errors import unknown_name

PAPER_BATCHES = (64, 128, 256)
"""The paper's Table 9 has these on every data set."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """The rows of a table.

    Attributes:
        text: what it compares, and the paper's tables.
        methods: its rows as typed after --methods.
        varies_batch: each row at half, once and twice the preset's batch, or at the paper's three.
    """

    text: str
    methods: str = "all"
    varies_batch: bool = False

    @property
    def rows(self) -> tuple[tuple[str, str], ...]:
        """(method, variant) of each row, in the order that they are run in; empty where every method is one."""
        if self.methods == "all":
            return ()
        return tuple((name, variant) for name, _, variant in (row.partition(":") for row in self.methods.split(",")))

    def batches(self, size: int) -> tuple[int, ...]:
        """The batch sizes of a row whose preset has `size`; 0 stands for that one."""
        if not self.varies_batch:
            return (0,)
        sizes = PAPER_BATCHES if size in PAPER_BATCHES else (size // 2, size, size * 2)
        return tuple(0 if wanted == size else wanted for wanted in sizes)


STUDIES: dict[str, Study] = {
    "comparison": Study(text="every method on each data set (the paper's Tables 1 to 4)"),
    "augmentation": Study(
        text="C-DSVAE with and without each augmentation (Tables 5 and 6)",
        methods="dsvae,cdsvae,cdsvae:no-content-aug,cdsvae:no-motion-aug",
    ),
    "estimators": Study(
        text="minibatch-weighted sampling against contrastive estimation (Tables 7 and 8)",
        methods="dsvae,dsvae:mws,cdsvae",
    ),
    "published-weights": Study(
        text="C-DSVAE with a small preset's weights and capacity schedule against the released ones and none",
        methods="cdsvae,cdsvae:no-schedule,cdsvae:published-weights,cdsvae:published-logvar,cdsvae:published-views",
    ),
    "batch-size": Study(text="C-DSVAE at several batch sizes (Table 9)", methods="cdsvae", varies_batch=True),
}


def study(name: str) -> Study:
    """The study of that name.

    Raises:
        UserError: there is none.
    """
    if name not in STUDIES:
        raise unknown_name("table", name, STUDIES, "bench list tables")
    return STUDIES[name]


def varies_batch(table: str) -> bool:
    """Whether a table, of a study or not, has a row for each batch size."""
    return table in STUDIES and STUDIES[table].varies_batch
