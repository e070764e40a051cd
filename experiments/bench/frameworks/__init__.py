"""The same networks in each library, one a file.

A file has a function for each kind of workload that it can run, ``inference`` and ``training``.
These take a task (``worker.Task``) and return two functions: one call, whose result is there when
it returns (the output; the loss of a step), and the parameters after it, by name.

Each is loaded by its path, in a process of its own: importing a module of a package imports the
package, and so JAX, which is no business of the others.
"""
