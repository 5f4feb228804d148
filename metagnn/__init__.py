"""Graph-learning framework for interference management, centred on GNN primal-dual optimisation."""

from pathlib import Path

__version__ = "0.1.0"

# In a checkout graphs/, models/ and tasks/ stand beside this folder, in a wheel inside it.
if not (Path(__file__).parent / "graphs").is_dir():
    __path__.append(str(Path(__file__).parent.parent))
