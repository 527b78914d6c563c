"""What must hold of every stack, as functions from the graph to the faults found, each fault a sentence that names the resource."""

from collections.abc import Callable, Iterator

from tests.infra.graph import Graph

Property = Callable[[Graph], Iterator[str]]
PROPERTIES: dict[str, Property] = {}


def holds(check: Property) -> Property:
    """Register a property under its name."""
    PROPERTIES[check.__name__] = check
    return check


from tests.infra.properties import doors, fit, keeping, protection, rights, running  # noqa: E402, F401 - importing them registers theirs
