"""The published site: a leaderboard and a page for each cell, from records alone."""
