"""One fixture module a real server; each server is started at most once a session, on ports picked free."""

pytest_plugins = (
    "tests.servers.postgres",
    "tests.servers.aws",
    "tests.servers.mongodb",
    "tests.servers.elasticsearch",
    "tests.servers.stack",
    "tests.servers.packages",
)
