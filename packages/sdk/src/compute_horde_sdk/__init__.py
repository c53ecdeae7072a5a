"""Run container jobs on a ComputeHorde. Import from `compute_horde_sdk.v1`."""
