"""Sheets of clips, curves, diagrams and moving pictures."""
