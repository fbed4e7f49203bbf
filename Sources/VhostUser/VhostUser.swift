// VhostUser: see docs/architecture.md.
