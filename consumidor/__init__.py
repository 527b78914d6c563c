"""A credit bureau for Brazil: people (Base A), score (Base B) and events (Base C), each asked in its own way."""
