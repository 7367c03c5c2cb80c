"""Placeholder tour."""
