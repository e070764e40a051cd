"""Models in Flax NNX, registered by name, and the files of their weights."""
