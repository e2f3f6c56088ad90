"""The vocabulary of semi-supervised learning: parts that methods share, each tested on its own."""
