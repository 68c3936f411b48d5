"""Roof: one short file for each command; `main` finds it and turns errors into lines."""
