"""The events path: Base C, read by one Lambda and fed by another."""
