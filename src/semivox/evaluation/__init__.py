"""From two folders of label maps to scores, tables and a picture."""
