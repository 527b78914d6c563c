"""Which paths are loaded in what proportion, how the load rises and falls, and what the entries of the table are called."""

# Share of users (or of arrivals) a path.
MIXES: dict[str, dict[str, int]] = {
    "even": {"people": 1, "score": 1, "events": 1},
    "bureau": {"people": 1, "score": 4, "events": 5},  # as the paths' promises have it: events most, people least
    "people": {"people": 1},
    "score": {"score": 1},
    "events": {"events": 1},
}
# Until which second how many users (of the open model: what share of the arrivals, all of them where there are most users).
STAGES: dict[str, list[tuple[int, int]]] = {
    "smoke": [(5, 3)],
    "minute": [(10, 6), (50, 12), (60, 6)],
    "climb": [(30, 3), (60, 6), (90, 12), (120, 24), (150, 48)],
    "soak": [(1800, 12)],
}
PEOPLE, SCORE, LATEST, PAGE = "people: POST to response", "score: GET score", "events: GET latest", "events: GET page"
ACCEPTED, ANSWERED = "people: hop 1, POST accepted", "people: hop 2, accepted to response"
RECEIVED, ACKNOWLEDGED = "people: receiver, GET responses", "people: receiver, POST ack"
HEADLINES: dict[str, tuple[str, ...]] = {"people": (PEOPLE,), "score": (SCORE,), "events": (LATEST, PAGE)}  # what a caller waits for
ENTRIES = (PEOPLE, ACCEPTED, ANSWERED, RECEIVED, ACKNOWLEDGED, SCORE, LATEST, PAGE)
