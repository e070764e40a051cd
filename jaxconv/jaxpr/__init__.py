"""Read JAX programs (jaxprs): their equations, and what each primitive does."""
