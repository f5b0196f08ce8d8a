"""Prompt corpora and their LightningDataModule."""
