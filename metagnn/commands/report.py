"""``metagnn report``: a comparison, an adaptation or a training run as one HTML page."""

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(words: Sequence[str]) -> None:
    """Run the subcommand.

    Raises:
        ValueError: If the folder is not of a run, or a file in it is malformed; then no page is
            written.
    """
    arguments = _parser().parse_args(words)
    from metagnn.report import collect
    from metagnn.report_page import write_page

    folder = Path(arguments.folder)
    page = write_page(collect(folder), arguments.out or folder / "report.html")
    print(f"Page: {page} ({page.stat().st_size / 1e3:.0f} kB)")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="metagnn report",
        description="Show a run as one HTML page that works without a network: what was run, "
        "table, map of the links, convergence, certified gaps.",
    )
    parser.add_argument(
        "folder",
        metavar="DIR",
        help="folder of `metagnn compare --out`, of `adapt --out`, or of a training run "
        "(runs/NAME/version_N)",
    )
    parser.add_argument("--out", metavar="FILE", help="the page (DIR/report.html)")
    return parser
