"""Pictures of all that insight finds; every one from plain data.

- `colours`, `drawing`: one scale everywhere; what all pictures are drawn with
- `maps`, `words`: maps, matrices and tokens; rows of words; `diagram`: the flow as a diagram
"""
