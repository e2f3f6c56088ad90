"""``python -m semivox`` does what the ``semivox`` command does."""

from semivox.cli import main

if __name__ == "__main__":
    main()
