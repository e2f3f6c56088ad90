"""From a trained network to label maps on the scans' own grids."""
