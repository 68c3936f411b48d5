"""From a study to its results: every trial measured once, wherever it runs, and kept.

- `run`: all trials of some studies; `results`: what a folder of results holds, and its verdicts
- `planning`: which trials there are; `measure`: one trial, in this process
- `local`, `worker`: processes of this machine; `on_ray`: a Ray cluster; `engine`: what both are
- `records`: one file a trial; `folder`: the rest; `provenance`: which code measured, on what
- `progress`: what people see meanwhile
"""
