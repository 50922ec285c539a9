"""A small shop that blocks its event loop in the ways real services do; `make demo` runs it."""
