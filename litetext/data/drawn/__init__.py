"""What the drawn worlds have in common: benchmarks that are written once, in the layouts of SA-Co Gold and VEval."""
