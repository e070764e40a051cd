"""Decide for every size at once what a function accepts and returns."""
