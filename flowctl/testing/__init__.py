"""For tests: of workflows, of runtimes and of journals.

conformance           the cases every runtime must pass: what a case is, and how an observation is held
against it script                scripted activities, the same for the virtual runtime and for real
asyncio virtual, embedded     run a case on that runtime, ended and begun again wherever one likes loop
an asyncio loop whose clock jumps instead of waiting journal_conformance   what every journal must keep
"""
