"""The same networks in each library, one file per library.

A file has a function for each kind of workload that it can run, ``inference`` and ``training``.
Each takes a task (``worker.Task``) and returns two functions: one makes a call and returns its
complete result (the output, or the loss of a step), the other returns the parameters by name.

Each file is loaded by path in its own process. Importing a module of a package would import the
package, and so JAX, which the other libraries do not need.
"""
