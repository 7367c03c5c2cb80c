"""Releases packed for media. See docs/format.md §10."""
