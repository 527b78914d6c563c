"""The people path: Base A, asked through queues only."""
