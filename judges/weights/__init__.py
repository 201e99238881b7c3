"""Pretrained judges: weights (safetensors) and cards (JSON)."""
