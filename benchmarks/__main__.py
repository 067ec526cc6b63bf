"""All benchmarks, one after the other, and which targets hold: ``python -m benchmarks``, in ten minutes."""

import sys

from benchmarks import comparison, loops, report, startup, validate

if __name__ == "__main__":
    targets = comparison.main(sys.argv[1:])
    targets += loops.main([])
    print()
    targets += startup.main()
    print()
    targets += validate.main()
    print()
    print(report.targets(targets))
