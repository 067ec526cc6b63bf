"""Random workflow programs, held against a small reference interpreter: see ``run_programs``."""
