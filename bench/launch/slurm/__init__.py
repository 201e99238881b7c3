"""What only SLURM needs: the profile, requests, manifests, and the job's side."""
