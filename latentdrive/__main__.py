"""`python -m latentdrive` is the command line."""

from latentdrive.cli import main

if __name__ == "__main__":
    main()
