"""`python -m limecli`, and the console script: Ctrl-C ends well while the rest still loads, too."""

import gc
import os
import sys


def main() -> None:
    """Run the command line."""
    # Libraries make some 100,000 objects as they load, none of them garbage.
    gc.set_threshold(100_000, 50, 100)
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
    finally:
        gc.freeze()  # looking through them once more at the end takes a fifth of a short run
    # CPython remembers an interrupt that fell into an exec (dataclasses use it) though it was
    # caught, and would end the process by signal.
    sys.stderr.flush()
    os._exit(130)


if __name__ == "__main__":
    main()
