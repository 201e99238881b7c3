"""The record: its one definition, and reading, checking, packing and importing many of them."""
