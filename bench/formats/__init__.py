"""A built table as text, Markdown, LaTeX, CSV, JSON or parquet."""
