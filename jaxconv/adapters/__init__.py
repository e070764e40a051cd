"""Models of other libraries: one record per library, and one way to call any model or function."""
