"""The zoo: public models of other libraries, each proven, counted and compared with tracing."""
