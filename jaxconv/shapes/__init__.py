"""Shapes: integer arithmetic, layouts and messages. No JAX in here."""
