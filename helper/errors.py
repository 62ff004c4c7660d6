"""Errors that a user can mend: one line on stderr, exit status 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable


class UserError(Exception):
    """Something the user gave is wrong. The message says what, and what to do, in one line."""


def run_script(main: Callable[[argparse.Namespace], None], parse_args: Callable[[], argparse.Namespace]) -> None:
    """Run `main(parse_args())`; end with status 2 and one line where the user, or the disk, is at fault."""
    try:
        main(parse_args())
    except UserError as error:
        message = str(error)
    except OSError as error:  # a full disk, a folder without write permission
        message = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
    else:
        return
    rank = os.environ.get("RANK", "0")
    prefix = "error" if rank == "0" else f"error (process {rank})"
    print(f"{prefix}: {' '.join(message.split())}", file=sys.stderr, flush=True)
    # Not sys.exit: worker processes, process groups and log writers may be waiting for a peer that will not come.
    sys.stdout.flush()
    os._exit(2)
