"""The same networks in each library, one file per library.

A file has a function for each kind of workload that it can run, ``inference`` and ``training``.
These take a task (``worker.Task``) and return two functions: the first makes one call and returns
its result (the output, or the loss of a step) when it is computed; the second returns the
parameters after it, by name.

Each file is loaded by its path, in its own process: importing it as a module of this package would
import the package, and so JAX, into the processes of the other libraries.
"""
