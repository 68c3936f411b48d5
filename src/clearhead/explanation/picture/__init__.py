"""One picture explained: what a reader saw in it, and what its answer rests on.

- `explanation`: that as plain data; `kept`: how much of it is kept; `influence`: three ways to ask
- `html`, `payload`, `static`: as one HTML file without requests, its data and its plain parts
- `figure`, `tables`: as PNG or SVG, as JSON or CSV; `write`: all of them to disk
"""
