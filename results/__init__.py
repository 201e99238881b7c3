"""Data only: published numbers, records, leaderboards."""
