"""Measurements of speed, size and memory, one subject a file."""
