"""Layers: pure functions that compute the shape before the array."""
