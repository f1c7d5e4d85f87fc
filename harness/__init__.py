"""harness: fair sweeps and benchmarks of neural networks. See README.md, and ARCHITECTURE.md for the rooms."""

__version__ = "0.1.0"
