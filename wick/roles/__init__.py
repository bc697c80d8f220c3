"""The processes: each wires the parts below into one role, and does nothing else."""
