"""How fast is it? The same networks in several libraries, timed in turn, call by call."""
