"""Sizes known as formulas, sets of sizes, and the language of shapes."""
