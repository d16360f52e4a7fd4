"""`python -m limecli`, and the console script: Ctrl-C ends well while the rest still loads, too."""

import atexit
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
        # Looking through them once more at the end takes a fifth of a short run. DuckDB complains
        # of what is left over.
        (gc.unfreeze if "duckdb" in sys.modules else gc.freeze)()
    # CPython remembers an interrupt that fell into an exec (dataclasses use it) though it was
    # caught, and would end the process by signal.
    if "joblib" in sys.modules:  # its workers have left semaphores
        atexit._run_exitfuncs()
    sys.stderr.flush()
    os._exit(130)


# CPython keeps the frames of calls in chunks of 16 KiB, and maps and unmaps memory at every call
# that crosses an edge: at an unlucky depth, importing scikit-learn takes a fifth longer. A frame
# that asks for much leaves all that it calls in one large chunk.
main.__code__ = main.__code__.replace(co_stacksize=1 << 16)

if __name__ == "__main__":
    main()
