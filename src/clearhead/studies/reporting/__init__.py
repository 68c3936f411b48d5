"""What studies found.

- `found`: as plain data; `words`: its words and numbers
- `html`, `markdown`, `data`: as a page, as text, as JSON and CSV; `write`: all of them to disk
"""
