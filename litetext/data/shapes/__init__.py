"""The world of shapes."""
