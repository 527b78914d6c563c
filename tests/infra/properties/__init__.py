"""What must hold of every stack, as functions from the graph to the faults found, each fault a sentence that names the resource."""

from collections.abc import Callable, Iterator

from tests.infra.graph import Graph

Property = Callable[[Graph], Iterator[str]]
PROPERTIES: dict[str, Property] = {}


def holds(check: Property) -> Property:
    """Register a property under its name."""
    PROPERTIES[check.__name__] = check
    return check


from tests.infra.properties import (  # noqa: E402 - importing them registers theirs
    doors,  # noqa: F401
    fit,  # noqa: F401
    keeping,  # noqa: F401
    order,  # noqa: F401
    protection,  # noqa: F401
    rights,  # noqa: F401
    running,  # noqa: F401
    watching,  # noqa: F401
)
