"""The training engine: one visible loop, checkpoints that survive anything, and loading what was trained."""
