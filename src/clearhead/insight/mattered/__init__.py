"""Whether a map shows what mattered to the answer.

- `baselines`: what stands where a patch is taken away; `curves`: deletion and insertion
- `faithfulness`: maps against random orders
"""
