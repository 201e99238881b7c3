"""Encoders, decoders, posteriors and priors that methods share."""
