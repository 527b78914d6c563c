"""The one public door: an HTTP API whose every route asks for a token and a scope."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pulumi
import pulumi_aws as aws
from environments import Environment
from function import Function
from identity import Identity, scope


class Route(NamedTuple):
    """A route of the contract, the scope it asks for, and who answers: the services behind the load balancer, or the search Lambda."""

    key: str
    scope: str
    answered_by: str


ROUTES = (
    Route("POST /v1/people/requests", "people.read", "services"),
    Route("GET /v1/people/responses", "people.read", "services"),
    Route("POST /v1/people/responses/ack", "people.read", "services"),
    Route("POST /v1/people/responses/release", "people.read", "services"),
    Route("GET /v1/score/{cpf}", "score.read", "services"),
    Route("GET /v1/score/{cpf}/profile", "profile.read", "services"),
    Route("GET /v1/events", "events.read", "search"),
    Route("GET /v1/events/latest", "events.read", "search"),
)
TIMEOUT_MILLISECONDS = 29_000  # a long poll takes up to 20 s; the gateway's own limit is 30
# By route key, never by path: a path may hold a CPF, and a query string too.
ACCESS_LOG = {
    "request": "$context.requestId",
    "at": "$context.requestTime",
    "route": "$context.routeKey",
    "status": "$context.status",
    "client": "$context.authorizer.claims.client_id",
    "milliseconds": "$context.responseLatency",
    "bytes": "$context.responseLength",
    "refused": "$context.authorizer.error",
}


@dataclass(frozen=True)
class GatewayArgs:
    """What stands behind it. `domain` and `certificate_arn`: "" for the API's own address and HTTP inside the VPC."""

    environment: Environment
    identity: Identity
    subnets: Sequence[pulumi.Input[str]]
    security_group: pulumi.Input[str]
    listener_arn: pulumi.Input[str]
    search: Function
    domain: str
    certificate_arn: str
    log_key: pulumi.Input[str]


class Gateway(pulumi.ComponentResource):
    """`api_id`, `url`, and with a domain `target_domain`, where its DNS record has to point."""

    target_domain: pulumi.Output[str] | None = None

    def __init__(self, name: str, args: GatewayArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:Gateway", name, None, opts)
        self._name, self._args = name, args
        child = pulumi.ResourceOptions(parent=self)
        api = self._api = aws.apigatewayv2.Api(
            name, name="consumidor", protocol_type="HTTP", disable_execute_api_endpoint=bool(args.domain), opts=child
        )
        self.api_id = api.id
        authorizer = aws.apigatewayv2.Authorizer(
            name,
            name="cognito",
            api_id=api.id,
            authorizer_type="JWT",
            identity_sources=["$request.header.Authorization"],
            jwt_configuration=aws.apigatewayv2.AuthorizerJwtConfigurationArgs(
                issuer=args.identity.issuer, audiences=args.identity.audiences
            ),
            opts=child,
        )
        answers = {"services": self._services(), "search": self._search()}
        for route in ROUTES:
            aws.apigatewayv2.Route(
                route.key,
                api_id=api.id,
                route_key=route.key,
                authorization_type="JWT",
                authorizer_id=authorizer.id,
                authorization_scopes=[scope(route.scope)],
                target=pulumi.Output.format("integrations/{}", answers[route.answered_by].id),
                opts=child,
            )
        stage = self._stage()
        self.url = pulumi.Output.from_input(api.api_endpoint)
        if args.domain:
            self._domain(stage)
        self.register_outputs({"url": self.url})

    def _services(self) -> aws.apigatewayv2.Integration:
        """Through a VPC link to the internal load balancer; with a domain over TLS, its certificate checked."""
        args, child = self._args, pulumi.ResourceOptions(parent=self)
        link = aws.apigatewayv2.VpcLink(
            self._name, name="consumidor", subnet_ids=args.subnets, security_group_ids=[args.security_group], opts=child
        )
        return aws.apigatewayv2.Integration(
            f"{self._name}-services",
            api_id=self._api.id,
            integration_type="HTTP_PROXY",
            integration_method="ANY",
            integration_uri=args.listener_arn,
            connection_type="VPC_LINK",
            connection_id=link.id,
            payload_format_version="1.0",
            timeout_milliseconds=TIMEOUT_MILLISECONDS,
            tls_config=aws.apigatewayv2.IntegrationTlsConfigArgs(server_name_to_verify=args.domain) if args.domain else None,
            opts=child,
        )

    def _search(self) -> aws.apigatewayv2.Integration:
        args, child = self._args, pulumi.ResourceOptions(parent=self)
        aws.lambda_.Permission(
            "search",
            action="lambda:InvokeFunction",
            function=args.search.name,
            principal="apigateway.amazonaws.com",
            source_arn=pulumi.Output.format("{}/*/*", self._api.execution_arn),
            opts=child,
        )
        return aws.apigatewayv2.Integration(
            f"{self._name}-search",
            api_id=self._api.id,
            integration_type="AWS_PROXY",
            integration_method="POST",
            integration_uri=args.search.invoke_arn,
            payload_format_version="2.0",
            timeout_milliseconds=TIMEOUT_MILLISECONDS,
            opts=child,
        )

    def _stage(self) -> aws.apigatewayv2.Stage:
        env, child = self._args.environment, pulumi.ResourceOptions(parent=self)
        logs = aws.cloudwatch.LogGroup(
            self._name, name="/consumidor/gateway", retention_in_days=env.log_days, kms_key_id=self._args.log_key, opts=child
        )
        return aws.apigatewayv2.Stage(
            self._name,
            name="$default",
            api_id=self._api.id,
            auto_deploy=True,
            access_log_settings=aws.apigatewayv2.StageAccessLogSettingsArgs(
                destination_arn=logs.arn, format=pulumi.Output.json_dumps(ACCESS_LOG)
            ),
            default_route_settings=aws.apigatewayv2.StageDefaultRouteSettingsArgs(
                throttling_rate_limit=env.throttle_rate, throttling_burst_limit=env.throttle_burst, detailed_metrics_enabled=True
            ),
            opts=child,
        )

    def _domain(self, stage: aws.apigatewayv2.Stage) -> None:
        args, child = self._args, pulumi.ResourceOptions(parent=self)
        configuration = aws.apigatewayv2.DomainNameDomainNameConfigurationArgs(
            certificate_arn=args.certificate_arn, endpoint_type="REGIONAL", security_policy="TLS_1_2"
        )
        domain = aws.apigatewayv2.DomainName(self._name, domain_name=args.domain, domain_name_configuration=configuration, opts=child)
        aws.apigatewayv2.ApiMapping(self._name, api_id=self._api.id, domain_name=domain.id, stage=stage.id, opts=child)
        self.url = pulumi.Output.from_input(f"https://{args.domain}")
        self.target_domain = domain.domain_name_configuration.apply(lambda made: made.target_domain_name)
