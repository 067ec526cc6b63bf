"""All benchmarks, one after the other: ``python -m benchmarks``."""

from benchmarks import startup, steps

if __name__ == "__main__":
    steps.main()
    print()
    startup.main()
