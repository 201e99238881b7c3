"""The name that jobs queued by version 0.1.0 start; it moved to `launch.slurm.tables`. Goes with the next release."""

import runpy

if __name__ == "__main__":
    runpy.run_module("seqdis.bench.launch.slurm.tables", run_name="__main__")
