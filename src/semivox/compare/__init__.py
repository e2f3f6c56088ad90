"""Many runs under one protocol: planned as a matrix, worked off by jobs, on this machine or on several."""
