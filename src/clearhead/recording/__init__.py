"""Record, verify and replace attention inside any PyTorch model.

`capture` records every attention computed in its block, as a `Recording` of `AttentionRecord`s
whose stages are computed on access; `Recording.verify` returns a `Verification` for each.
`intervene` replaces the output of attention. Both intercept torch's function calls and depend on no
particular model.

- `_capture`: `capture` and `intervene`; `_interception`: the torch function mode of both;
  `_call_site`, `_call_numbers`: the module of a call, and the number of the call
- `_record_of_call`: from fused calls and tracked operations to records; `_kernels`,
  `_kernel_calls`: functions of other packages; `_compiled`: graphs of `torch.compile`
- `_explicit`: attention written as separate operations, with `_operation`, `_products`,
  `_factors`, `_history`, `_in_place`, `_layout` and `_unfollowed`
- `_record`, `_recording`, `_verification`, `_generation`, `_html`: the results
- `_tables`: values by tensor; `_torch_internals`: the private parts of torch
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
