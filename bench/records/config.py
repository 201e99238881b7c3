"""A cell's resolved config, what config.json holds, and its identity: a hash of all that changes its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seqdis.bench.core.files import canonical_json, digest

CONFIG_SCHEMA = 1


def cell_id(config: Mapping[str, Any]) -> str:
    """The id of a resolved config: a readable name and ten digits of the hash of all that changes its numbers."""
    cell = config["cell"]
    identity = {key: value for key, value in config.items() if key != "plugin"}
    identity["training"] = {key: value for key, value in config["training"].items() if key != "log_every"}
    identity["evaluation"] = {key: value for key, value in config["evaluation"].items() if key != "batch_size"}
    name = "-".join(
        filter(
            None,
            (
                cell["dataset"],
                cell["source"][:5],
                cell["method"],
                cell["variant"],
                cell["preset"],
                f"b{cell['batch']}" if cell["batch"] else "",
                f"s{cell['seed']}",
            ),
        )
    )
    return f"{name}-{digest(canonical_json(identity))[:10]}"
