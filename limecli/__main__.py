"""`python -m limecli`, and the console script: Ctrl-C ends well while the rest still loads, too."""

import os
import sys


def main() -> None:
    """Run the command line."""
    try:
        from limecli.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("limecli: interrupted\n")
    except SystemExit as ended:
        if ended.code != 130:
            raise
    else:
        return
    # CPython remembers an interrupt that fell into an exec (dataclasses use it) though it was
    # caught, and would end the process by signal.
    sys.stderr.flush()
    os._exit(130)


if __name__ == "__main__":
    main()
