"""``python -m flowctl`` is the ``flowctl`` command."""

from flowctl.cli import main

if __name__ == "__main__":
    main()
