"""For tests: of workflows, of runtimes and of journals.

Tests of workflows (``*.test.yaml``), read from the file to the report::

    casefile      test files, read and held against the documents they test: ``Scenario``s
    running       one of them in virtual time, and what came of it; ``world`` is the time it takes place in,
                  ``events`` what comes from outside
    mocks, real   what answers for activities; ``failures`` what goes wrong with that
    effects       what calls leave in the world; ``saga`` whether it may be left
    expectations  what must come of a run; ``names`` what expressions see of it
    every         every failure in turn; ``reproducer`` one of them, as a case
    coverage      what of a document was come to
    replaying     runs of the past
    suite, junit  files of all that; ``watching`` them
    python        the same from Python, and ``pytest_plugin`` from pytest; ``played`` on the engine itself

For authors of runtimes and journals::

    conformance          the cases every runtime must pass, and how an observation is held against one
    script               scripted activities, the same for the virtual runtime and for real asyncio
    virtual, embedded    run a case on that runtime, ended and begun again wherever one likes
    loop                 an asyncio loop whose clock jumps instead of waiting
    journal_conformance  what every journal must keep
    faults               kills and I/O errors at any system call, and what a disk may hold after a power cut
"""
