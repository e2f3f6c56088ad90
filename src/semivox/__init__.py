"""Semivox: 3D medical segmenters from a handful of labeled scans plus many unlabeled ones."""

__version__ = "0.1.0"
