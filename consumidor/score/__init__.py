"""The score path: Base B, a scorecard, and extraction."""
