"""All benchmarks, one after the other: ``python -m benchmarks``, in under ten minutes."""

import sys

from benchmarks import comparison, loops, startup

if __name__ == "__main__":
    comparison.main(sys.argv[1:])
    loops.main([])
    print()
    startup.main()
