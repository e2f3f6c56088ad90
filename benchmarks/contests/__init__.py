"""The lines of the speed table, one module for each subject."""

from contests import training

ALL = (*training.CONTESTS,)
