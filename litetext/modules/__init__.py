"""LightningModules and their callbacks."""
