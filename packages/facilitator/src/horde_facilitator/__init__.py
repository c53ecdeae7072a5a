"""The ComputeHorde service: accepts jobs, keeps their records and hands them to executors."""
