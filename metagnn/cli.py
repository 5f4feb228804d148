"""Command line of metagnn: picks the subcommand; everything heavy is imported after that."""

import sys
from collections.abc import Sequence
from importlib import import_module

from metagnn.memory import keep_freed_memory

TRAINING = ("fit", "validate", "test", "predict")
COMMANDS = {
    "fit": "train: meta-training, or learning from scratch (LightningCLI)",
    "validate": "score a checkpoint on the validation networks (LightningCLI)",
    "test": "score a checkpoint on the test networks (LightningCLI)",
    "predict": "transmit powers on the test networks (LightningCLI)",
    "adapt": "adapt the meta-parameters to your own network",
    "compare": "policies and baselines on the same networks: table, CSV, JSON, figure",
    "report": "a run or a comparison as one HTML page: table, map, convergence",
    "bench": "speed against the ordinary way, as ratios",
    "demo": "meta-train in minutes, adapt to real links, compare",
}


def _help() -> str:
    rows = "\n".join(f"  {name:<10}{text}" for name, text in COMMANDS.items())
    return (
        "usage: metagnn COMMAND [options]\n\n"
        "Interference management with graph neural networks and primal-dual optimisation.\n\n"
        f"commands:\n{rows}\n\n"
        "`metagnn COMMAND --help` tells more. --config takes a packaged name or a path."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors in the user's input end it with exit code 2.

    Args:
        arguments: Words after the program's name; those of the process if not given.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return
    if words[0] == "--version":
        from metagnn import __version__

        print(f"metagnn {__version__}")
        return
    command = words[0]
    if command not in COMMANDS:
        _fail(f"`COMMAND` must be one of {list(COMMANDS)}, got {command!r}")
    keep_freed_memory()
    module = "training" if command in TRAINING else command
    try:
        import_module(f"metagnn.commands.{module}").main(
            words if module == "training" else words[1:]
        )
    except (ValueError, OSError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        print("metagnn: interrupted", file=sys.stderr)
        sys.exit(130)


def _fail(message: str) -> None:
    print(f"metagnn: error: {message}", file=sys.stderr)
    sys.exit(2)
