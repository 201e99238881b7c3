"""What every room may use: errors, files, seeds. Standard library only."""
