"""Look inside any JAX function: what its layers are, what they see, and what they make."""
