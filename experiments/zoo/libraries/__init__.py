"""The models of each library: one module per way in which libraries make models."""
