"""`python -m fourfold` is `fourfold`."""

from fourfold.cli import entry

if __name__ == "__main__":
    entry()
