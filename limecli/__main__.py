"""`python -m limecli`."""

from limecli.cli import main

if __name__ == "__main__":
    main()
