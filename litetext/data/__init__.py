"""Prompt corpora, the teacher-feature store and the LightningDataModules."""
