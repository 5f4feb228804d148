"""``python -m metagnn``."""

from metagnn.cli import main

main()
