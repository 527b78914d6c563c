"""Which paths are loaded in what proportion, and how the load rises and falls."""

# Share of users (or of arrivals) a path.
MIXES: dict[str, dict[str, int]] = {
    "even": {"people": 1, "score": 1, "events": 1},
    "bureau": {"people": 1, "score": 4, "events": 5},  # as the paths' promises have it: events most, people least
    "people": {"people": 1},
    "score": {"score": 1},
    "events": {"events": 1},
}
# Until which second how many users (of the open model: what percentage of the arrivals).
STAGES: dict[str, list[tuple[int, int]]] = {
    "smoke": [(5, 3)],
    "minute": [(10, 6), (50, 12), (60, 6)],
    "climb": [(30, 3), (60, 6), (90, 12), (120, 24), (150, 48)],
    "soak": [(1800, 12)],
}
