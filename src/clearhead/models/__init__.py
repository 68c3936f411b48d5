"""First floor: the models. A forward returns its output and nothing else."""
