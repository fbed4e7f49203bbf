"""What the benchmarks of this folder share: servers, media, clients, figures and reports."""
