// LinuxSystem: see docs/architecture.md.
