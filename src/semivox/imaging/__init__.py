"""Scans on disk and in memory: files, geometry, resampling, normalization and the plan. Knows nothing of torch."""
