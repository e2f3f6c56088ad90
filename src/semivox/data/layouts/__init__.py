"""The layouts of dataset folders: which files belong to which case, and how they are read."""
