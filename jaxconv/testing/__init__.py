"""The pytest plugin: each contract is a test."""
