"""Models in Flax NNX, built on the layers, and the files their weights come from."""
