"""Formulations of operations that are fast on a CPU, and their place in a JAX program."""
