"""Contracts as tests: the pytest plugin, and annotations for GitHub."""
