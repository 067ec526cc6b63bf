"""A search for inputs that do more than they should: see ``fuzz_documents``."""
