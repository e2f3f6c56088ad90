"""The lines of the speed table, one module for each subject."""

from contests import caml_cml, loading, metrics, prediction, preparing, startup, training

ALL = (*training.CONTESTS, *caml_cml.CONTESTS, *loading.CONTESTS, *prediction.CONTESTS, *metrics.CONTESTS,
       *preparing.CONTESTS, *startup.CONTESTS)
