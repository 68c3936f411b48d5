"""What single heads do, and words for those that earn them.

- `measures`: what one matrix of weights says; `measured`: measures of every head of a model
- `untrained`: the same of heads that learnt nothing; `roles`: words, where a head passes those
"""
