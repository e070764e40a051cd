"""Look inside any JAX function: its layers, feature maps, receptive fields and neurons."""
