"""Where cells run: a bounded local pool, or SLURM."""
