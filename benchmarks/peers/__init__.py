"""What the paths are compared with: the same work on the same servers, each written as its users would, and fairly."""
