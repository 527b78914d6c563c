"""What an operator does by hand, as scripts: `python -m tests.faults.runbooks.<name> HOME`. The README says when."""
