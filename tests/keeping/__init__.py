"""Harnesses about keeping a database: damage that must be seen, and copies that must be right."""
