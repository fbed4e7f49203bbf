// VhostUserFrontend: see docs/architecture.md.
