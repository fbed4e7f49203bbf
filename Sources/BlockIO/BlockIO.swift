// BlockIO: see docs/architecture.md.
