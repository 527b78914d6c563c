"""Whether what the program deploys fits the code: the settings of each process both ways, and how long connections are kept."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import botocore

from consumidor import web
from consumidor.errors import SettingsError
from consumidor.settings import KEYS, OPTIONAL_IN, PROCESSES, Settings
from tests.infra.graph import Graph
from tests.infra.made_up import REGION
from tests.infra.properties import holds

NAMES = {"score-api": "score"}  # what the program calls a process where it differs
FROM_AWS = {"search": {"AWS_REGION"}, "feed": {"AWS_REGION"}}  # Lambda's runtime sets it, and refuses to let anyone else
AUTHORITY = Path(botocore.__file__).with_name("cacert.pem")  # certificates, in the place of Base C's own, which is not at its path here
BESIDE = {
    ("migrate", "PGPASSWORD"): "read by libpq, where the owner's DSN has no password",
}


def environment_of(graph: Graph, process: str, outside: Mapping[str, str]) -> dict[str, str]:
    """What the process finds once ECS and the secrets extension have put the secrets in; `outside`: texts that others keep, by ARN."""
    given = graph.environment(NAMES.get(process, process))
    texts = {name: re.sub(r"^secret(smanager)?:", "", value) if value.startswith("secret") else "" for name, value in given.items()}
    known = {one.get("arn") for one in graph.of("secretsmanager:Secret")}
    resolved = {name: graph.secret_text(arn) if arn in known else outside.get(arn, "") for name, arn in texts.items() if arn}
    return given | resolved | dict.fromkeys(FROM_AWS.get(process, ()), REGION)


@holds
def every_process_is_told_what_it_needs(graph: Graph) -> Iterator[str]:
    """Each setting that a process must have is set, and each that is set is one it reads."""
    for process, keys in PROCESSES.items():
        given = graph.environment(NAMES.get(process, process))
        required = {key for key in keys if KEYS[key].default is ... and (process, key) not in OPTIONAL_IN}
        yield from (f"{process} lacks {key}" for key in sorted(required - given.keys() - FROM_AWS.get(process, set())))
        for key in sorted(given.keys() - set(keys)):
            if (process, key) not in BESIDE:
                yield f"{process} is given {key}, which it does not read"


@holds
def every_setting_can_be_read(graph: Graph) -> Iterator[str]:
    """`Settings.from_env` accepts what each process is given, secrets and all."""
    if not (graph.of("docdb:Cluster") and graph.of("ec2:Instance")):
        return  # the text of somebody else's secret is not known here
    for process in PROCESSES:
        try:
            given = environment_of(graph, process, {})
            if "BASE_C_URL" in given:
                given["BASE_C_URL"] = re.sub(r"(?<=\?ca_certs=)[^,]+", str(AUTHORITY), given["BASE_C_URL"])
            Settings.from_env(process, given)
        except SettingsError as error:
            yield str(error)


@holds
def the_load_balancer_hangs_up_first(graph: Graph) -> Iterator[str]:
    """A service keeps an idle connection for longer than the load balancer does, so that no request meets one just closed: a 502."""
    for balancer in graph.of("lb:LoadBalancer"):
        if balancer.get("idleTimeout") >= web.KEEP_ALIVE_SECONDS:
            yield f"{balancer} keeps connections {balancer.get('idleTimeout')} s, the services {web.KEEP_ALIVE_SECONDS} s"
