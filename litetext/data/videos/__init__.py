"""SA-Co VEval and other videos."""
