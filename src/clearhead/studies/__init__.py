"""Claims about attention, each tested by experiments.

- `study`: what a study is and how to write one; `hypotheses`: what it tests; `table`: trials and
  measured values, paired by seed; `_panels`: standard figures
- `claims/`: one claim a file, each with a `STUDY`; `measures/`: what their trials measure, and the
  panels and summaries that show it
- `registration`: plans, designs fixed before a run, and the versions and machine of a run
- `runner`: every trial measured once, here or on Ray; `store`: the folder of results, and
  published ones
- `stats`, `verdict`: intervals and tests; the rule from measured values to a verdict
- `report`: verdicts, figures and raw data as HTML, Markdown, JSON and CSV
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
