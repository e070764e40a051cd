"""What ``experiments.train`` is made of: recipes, data, steps, checkpoints, what a person sees."""
