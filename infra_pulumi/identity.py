"""Who may call: a Cognito user pool that gives tokens to registered clients, by client credentials alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_random as random
from client import Client, ClientArgs
from config import Trust

RESOURCE_SERVER = "consumidor"  # the prefix of every scope, and the audience the services accept
SCOPES = {
    "people.read": "Ask for a person's report and read the answers (Base A)",
    "score.read": "Read a credit score (Base B)",
    "profile.read": "Read the profile behind a score (Base B)",
    "events.read": "Read a person's events (Base C)",
}


def scope(short: str) -> str:
    """`people.read` as a token carries it."""
    return f"{RESOURCE_SERVER}/{short}"


@dataclass(frozen=True)
class IdentityArgs:
    """The clients, those trusted with an IAM role, and what such a role may read."""

    region: str
    keep: bool
    clients: Sequence[str]
    trust: Sequence[Trust]
    results_bucket_arn: pulumi.Input[str]
    responses_key: pulumi.Input[str]
    results_key: pulumi.Input[str]


class Identity(pulumi.ComponentResource):
    """`issuer`, `jwks_url`, `token_url`, `clients`, and `registry`: the CLIENTS setting, client id -> name as compact JSON."""

    def __init__(self, name: str, args: IdentityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:Identity", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        pool = aws.cognito.UserPool(
            name,
            admin_create_user_config=aws.cognito.UserPoolAdminCreateUserConfigArgs(allow_admin_create_user_only=True),
            deletion_protection="ACTIVE" if args.keep else "INACTIVE",
            opts=child,
        )
        scopes = [aws.cognito.ResourceServerScopeArgs(scope_name=short, scope_description=about) for short, about in SCOPES.items()]
        server = aws.cognito.ResourceServer(
            name, identifier=RESOURCE_SERVER, name=RESOURCE_SERVER, user_pool_id=pool.id, scopes=scopes, opts=child
        )
        suffix = random.RandomString(f"{name}-domain", length=8, special=False, upper=False, opts=child)  # unique in its region
        domain = aws.cognito.UserPoolDomain(
            name, domain=pulumi.Output.format("consumidor-{}", suffix.result), user_pool_id=pool.id, opts=child
        )
        self.issuer = pulumi.Output.format("https://cognito-idp.{}.amazonaws.com/{}", args.region, pool.id)
        self.jwks_url = pulumi.Output.format("{}/.well-known/jwks.json", self.issuer)
        self.token_url = pulumi.Output.format("https://{}.auth.{}.amazoncognito.com/oauth2/token", domain.domain, args.region)
        trust = {trusted.client: trusted for trusted in args.trust}
        after_scopes = pulumi.ResourceOptions(parent=self, depends_on=[server])
        self.clients = [Client(client, self._client(pool, args, trust.get(client)), after_scopes) for client in args.clients]
        # Compact, because a Lambda's whole environment may have 4 KB.
        ids = pulumi.Output.all(*(client.client_id for client in self.clients))
        names = ids.apply(lambda known: dict(zip(known, args.clients, strict=True)))
        self.registry = pulumi.Output.json_dumps(names, separators=(",", ":"))
        self.register_outputs({"issuer": self.issuer})

    @staticmethod
    def _client(pool: aws.cognito.UserPool, args: IdentityArgs, trust: Trust | None) -> ClientArgs:
        return ClientArgs(
            user_pool_id=pool.id,
            scopes=[scope(short) for short in SCOPES],
            results_bucket_arn=args.results_bucket_arn,
            responses_key=args.responses_key,
            results_key=args.results_key,
            trust=trust,
        )

    @property
    def settings(self) -> dict[str, pulumi.Input[str]]:
        """What a service needs to verify a token."""
        return {"JWT_ISSUER": self.issuer, "JWT_AUDIENCE": RESOURCE_SERVER, "JWKS_URL": self.jwks_url, "CLIENTS": self.registry}

    @property
    def audiences(self) -> list[pulumi.Output[str]]:
        """Cognito's access tokens have no `aud`: the gateway holds their `client_id` against these."""
        return [client.client_id for client in self.clients]

    @property
    def responses_prefix(self) -> pulumi.Output[str]:
        """A response queue's URL less the client's name."""
        first = self.clients[0]
        return first.queue.url.apply(lambda url: str(url).removesuffix(first.short_name))
