"""Checks of a dataset by subject: one case's files, its images, its mask, and the dataset as a whole."""
