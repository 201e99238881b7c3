"""The name that jobs queued by version 0.1.0 start; it moved to `commands.last_tables`. Goes with the next release."""

import runpy

if __name__ == "__main__":
    runpy.run_module("seqdis.bench.commands.last_tables", run_name="__main__")
