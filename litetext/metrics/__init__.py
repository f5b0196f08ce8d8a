"""Metrics of the paper: pure functions over counts, and thin torchmetrics classes around them."""
