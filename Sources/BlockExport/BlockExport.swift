// BlockExport: see docs/architecture.md.
