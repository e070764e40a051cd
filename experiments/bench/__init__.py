"""The benchmark: the same networks in several libraries, timed in turn, call by call."""
