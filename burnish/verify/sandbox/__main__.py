"""`python -m burnish.verify.sandbox`: say which sandbox is active here, or serve it to other machines."""

from __future__ import annotations

import argparse
import os
import sys

from burnish.errors import Error
from burnish.verify.sandbox.choose import KINDS, sandbox
from burnish.verify.sandbox.remote import TOKEN, Executor


def main() -> int:
    """The exit code: 0, or 1 where no sandbox works."""
    parser = argparse.ArgumentParser(prog="python -m burnish.verify.sandbox", description=__doc__)
    parser.add_argument("--kind", default="auto", help=f"auto, {', '.join(KINDS)}")
    parser.add_argument("--package", action="append", default=[], help="a package that programs may import; repeatable")
    parser.add_argument("--listen", metavar="HOST:PORT", help=f"serve it there; the token is taken from {TOKEN}")
    given = parser.parse_args()
    try:
        chosen = sandbox(given.kind, given.package)
        sys.stdout.write(f"{chosen.name}: {chosen.why}\n")
        if given.listen:
            host, _, port = given.listen.rpartition(":")
            executor = Executor(chosen, os.environ.get(TOKEN, ""), host, int(port))
            sys.stdout.write(f"listening on {executor.address}\n")
            sys.stdout.flush()
            executor.serve()
    except Error as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
