"""Scans on disk, their check, the prepared store, and the batches that training draws from it."""
