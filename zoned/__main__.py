"""``python -m zoned``: the same as the command ``zonedctl``."""

from zoned.cli import main

if __name__ == "__main__":
    main()
