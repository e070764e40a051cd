"""Figures, network diagrams, and the page to explore feature maps in."""
