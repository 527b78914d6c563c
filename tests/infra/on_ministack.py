"""A provider for the mocks that really makes things, in ministack: queues, keys, secrets, buckets, tokens, Lambdas, API and mapping.

What ministack cannot make (networks, databases, containers) is made up as in every other test. Three things differ from AWS, each
because of where this runs: the Lambdas run on this machine's Python, in no VPC and without layers; the secrets that their settings
name are read for them, since Amazon's extension is not here; and the gateway reaches the load balancer by a URL, not by its ARN.
"""

import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import boto3

from tests.infra import made_up

ACCOUNT = "000000000000"  # ministack's own, and so the SenderId of all that runs in it
_REFERENCE = "secretsmanager:"
Made = tuple[str, dict[str, Any]]


class Place(NamedTuple):
    """The endpoint of ministack, the URL that stands for the load balancer's listener, the folder of the Lambdas' zips.

    `called_by_lambdas`: the endpoint that the Lambdas are told.
    """

    endpoint: str
    listener: str
    zips: str
    called_by_lambdas: str


class Provider:
    """`state_of` makes a resource and answers with its id and outputs."""

    def __init__(self, place: Place) -> None:
        self._place = place
        session: Any = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=made_up.REGION)
        names = ("sqs", "kms", "s3", "secretsmanager", "lambda", "apigatewayv2", "cognito-idp")
        self._aws = {name: session.client(name, endpoint_url=place.endpoint) for name in names}
        self._makers: dict[str, Callable[[str, dict[str, Any]], Made]] = {
            "aws:sqs/queue:Queue": self._queue,
            "aws:sqs/queuePolicy:QueuePolicy": self._queue_policy,
            "aws:kms/key:Key": self._key,
            "aws:kms/alias:Alias": self._alias,
            "aws:secretsmanager/secret:Secret": self._secret,
            "aws:secretsmanager/secretVersion:SecretVersion": self._secret_version,
            "aws:s3/bucket:Bucket": self._bucket,
            "aws:s3/bucketPolicy:BucketPolicy": self._bucket_policy,
            "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": self._encryption,
            "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": self._lifecycle,
            "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration": self._lock,
            "aws:cognito/userPool:UserPool": self._user_pool,
            "aws:cognito/resourceServer:ResourceServer": self._resource_server,
            "aws:cognito/userPoolClient:UserPoolClient": self._app_client,
            "aws:cognito/userPoolDomain:UserPoolDomain": self._pool_domain,
            "aws:lambda/function:Function": self._function,
            "aws:lambda/permission:Permission": self._permission,
            "aws:lambda/eventSourceMapping:EventSourceMapping": self._mapping,
            "aws:apigatewayv2/api:Api": self._api,
            "aws:apigatewayv2/authorizer:Authorizer": self._authorizer,
            "aws:apigatewayv2/integration:Integration": self._integration,
            "aws:apigatewayv2/route:Route": self._route,
            "aws:apigatewayv2/stage:Stage": self._stage,
        }

    def state_of(self, type_: str, name: str, inputs: dict[str, Any]) -> Made:
        """Make the resource where ministack can; else make its answer up."""
        if type_ == "aws:iam/role:Role":
            identity, outputs = made_up.state_of(type_, name, inputs)
            return identity, outputs | {"uniqueId": ACCOUNT}
        if type_ == "aws:lb/listener:Listener":
            return self._place.listener, {"arn": self._place.listener}
        maker = self._makers.get(type_)
        return maker(name, inputs) if maker else made_up.state_of(type_, name, inputs)

    def _queue(self, _: str, inputs: dict[str, Any]) -> Made:
        attributes = {
            "MaximumMessageSize": inputs["maxMessageSize"], "MessageRetentionPeriod": inputs["messageRetentionSeconds"],
            "VisibilityTimeout": inputs["visibilityTimeoutSeconds"], "ReceiveMessageWaitTimeSeconds": inputs["receiveWaitTimeSeconds"],
            "KmsMasterKeyId": inputs["kmsMasterKeyId"], "RedrivePolicy": inputs.get("redrivePolicy"),
        }  # fmt: skip
        given = {key: str(value) for key, value in attributes.items() if value is not None}
        url = self._aws["sqs"].create_queue(QueueName=inputs["name"], Attributes=given)["QueueUrl"]
        return url, {"url": url, "arn": f"arn:aws:sqs:{made_up.REGION}:{ACCOUNT}:{inputs['name']}"}

    def _queue_policy(self, name: str, inputs: dict[str, Any]) -> Made:
        self._aws["sqs"].set_queue_attributes(QueueUrl=inputs["queueUrl"], Attributes={"Policy": inputs["policy"]})
        return name, {}

    def _key(self, _: str, inputs: dict[str, Any]) -> Made:
        key = self._aws["kms"].create_key(Description=inputs["description"], Policy=inputs["policy"])["KeyMetadata"]
        return key["KeyId"], {"keyId": key["KeyId"], "arn": key["Arn"]}

    def _alias(self, _: str, inputs: dict[str, Any]) -> Made:
        self._aws["kms"].create_alias(AliasName=inputs["name"], TargetKeyId=inputs["targetKeyId"])
        return inputs["name"], {}

    def _secret(self, name: str, inputs: dict[str, Any]) -> Made:
        arn = self._aws["secretsmanager"].create_secret(Name=name, KmsKeyId=inputs["kmsKeyId"])["ARN"]
        return arn, {"arn": arn}

    def _secret_version(self, name: str, inputs: dict[str, Any]) -> Made:
        self._aws["secretsmanager"].put_secret_value(SecretId=inputs["secretId"], SecretString=inputs["secretString"])
        return name, {}

    def _bucket(self, name: str, inputs: dict[str, Any]) -> Made:
        bucket = f"{name}-{uuid.uuid4().hex[:7]}"
        region = {"LocationConstraint": made_up.REGION}
        self._aws["s3"].create_bucket(
            Bucket=bucket, CreateBucketConfiguration=region, ObjectLockEnabledForBucket=inputs["objectLockEnabled"]
        )
        return bucket, {"bucket": bucket, "arn": f"arn:aws:s3:::{bucket}"}

    def _bucket_policy(self, name: str, inputs: dict[str, Any]) -> Made:
        self._aws["s3"].put_bucket_policy(Bucket=inputs["bucket"], Policy=inputs["policy"])
        return name, {}

    def _encryption(self, name: str, inputs: dict[str, Any]) -> Made:
        (rule,) = inputs["rules"]
        default = rule["applyServerSideEncryptionByDefault"]
        encrypt = {"SSEAlgorithm": default["sseAlgorithm"], "KMSMasterKeyID": default["kmsMasterKeyId"]}
        rules = {"Rules": [{"ApplyServerSideEncryptionByDefault": encrypt}]}
        self._aws["s3"].put_bucket_encryption(Bucket=inputs["bucket"], ServerSideEncryptionConfiguration=rules)
        return name, {}

    def _lifecycle(self, name: str, inputs: dict[str, Any]) -> Made:
        rules = [
            {"ID": rule["id"], "Status": rule["status"], "Filter": {"Prefix": rule["filter"]["prefix"]},
             "Expiration": {"Days": rule["expiration"]["days"]}}
            for rule in inputs["rules"]
        ]  # fmt: skip
        self._aws["s3"].put_bucket_lifecycle_configuration(Bucket=inputs["bucket"], LifecycleConfiguration={"Rules": rules})
        return name, {}

    def _lock(self, name: str, inputs: dict[str, Any]) -> Made:
        default = inputs["rule"]["defaultRetention"]
        rule = {"DefaultRetention": {"Mode": default["mode"], "Days": default["days"]}}
        lock = {"ObjectLockEnabled": "Enabled", "Rule": rule}
        self._aws["s3"].put_object_lock_configuration(Bucket=inputs["bucket"], ObjectLockConfiguration=lock)
        return name, {}

    def _user_pool(self, name: str, _: dict[str, Any]) -> Made:
        return self._aws["cognito-idp"].create_user_pool(PoolName=name)["UserPool"]["Id"], {}

    def _resource_server(self, name: str, inputs: dict[str, Any]) -> Made:
        scopes = [{"ScopeName": one["scopeName"], "ScopeDescription": one["scopeDescription"]} for one in inputs["scopes"]]
        self._aws["cognito-idp"].create_resource_server(
            UserPoolId=inputs["userPoolId"], Identifier=inputs["identifier"], Name=inputs["name"], Scopes=scopes
        )
        return name, {}

    def _app_client(self, _: str, inputs: dict[str, Any]) -> Made:
        client = self._aws["cognito-idp"].create_user_pool_client(
            UserPoolId=inputs["userPoolId"],
            ClientName=inputs["name"],
            GenerateSecret=inputs["generateSecret"],
            AllowedOAuthFlows=inputs["allowedOauthFlows"],
            AllowedOAuthFlowsUserPoolClient=inputs["allowedOauthFlowsUserPoolClient"],
            AllowedOAuthScopes=inputs["allowedOauthScopes"],
        )["UserPoolClient"]
        return client["ClientId"], {"clientSecret": {"secret": client["ClientSecret"]}}

    def _pool_domain(self, _: str, inputs: dict[str, Any]) -> Made:
        self._aws["cognito-idp"].create_user_pool_domain(Domain=inputs["domain"], UserPoolId=inputs["userPoolId"])
        return inputs["domain"], {}

    def _function(self, _: str, inputs: dict[str, Any]) -> Made:
        zipped = Path(self._place.zips) / Path(inputs["code"]["archive"]["path"]).name
        settings = {key: self._resolved(value) for key, value in inputs["environment"]["variables"].items()}
        created = self._aws["lambda"].create_function(
            FunctionName=inputs["name"],
            Handler=inputs["handler"],
            Timeout=inputs["timeout"],
            MemorySize=inputs["memorySize"],
            Role=inputs["role"],
            Runtime=f"python3.{sys.version_info.minor}",
            Code={"ZipFile": zipped.read_bytes()},
            Environment={"Variables": settings | {"AWS_ENDPOINT_URL": self._place.called_by_lambdas}},
        )
        arn = created["FunctionArn"]
        return inputs["name"], {"arn": arn, "invokeArn": arn}

    def _resolved(self, value: str) -> str:
        if not value.startswith(_REFERENCE):
            return value
        return str(self._aws["secretsmanager"].get_secret_value(SecretId=value.removeprefix(_REFERENCE))["SecretString"])

    def _permission(self, name: str, inputs: dict[str, Any]) -> Made:
        self._aws["lambda"].add_permission(
            FunctionName=inputs["function"],
            StatementId=name,
            Action=inputs["action"],
            Principal=inputs["principal"],
            SourceArn=inputs["sourceArn"],
        )
        return name, {}

    def _mapping(self, _: str, inputs: dict[str, Any]) -> Made:
        made = self._aws["lambda"].create_event_source_mapping(
            EventSourceArn=inputs["eventSourceArn"],
            FunctionName=inputs["functionName"],
            BatchSize=inputs["batchSize"],
            FunctionResponseTypes=inputs["functionResponseTypes"],
            ScalingConfig={"MaximumConcurrency": inputs["scalingConfig"]["maximumConcurrency"]},
        )
        return made["UUID"], {}

    def _api(self, _: str, inputs: dict[str, Any]) -> Made:
        api = self._aws["apigatewayv2"].create_api(Name=inputs["name"], ProtocolType=inputs["protocolType"])["ApiId"]
        arn = f"arn:aws:execute-api:{made_up.REGION}:{ACCOUNT}:{api}"
        return api, {"apiEndpoint": self._place.endpoint, "executionArn": arn}

    def _authorizer(self, _: str, inputs: dict[str, Any]) -> Made:
        jwt = inputs["jwtConfiguration"]
        made = self._aws["apigatewayv2"].create_authorizer(
            ApiId=inputs["apiId"],
            Name=inputs["name"],
            AuthorizerType=inputs["authorizerType"],
            IdentitySource=inputs["identitySources"],
            JwtConfiguration={"Issuer": jwt["issuer"], "Audience": jwt["audiences"]},
        )
        return made["AuthorizerId"], {}

    def _integration(self, _: str, inputs: dict[str, Any]) -> Made:
        made = self._aws["apigatewayv2"].create_integration(
            ApiId=inputs["apiId"],
            IntegrationType=inputs["integrationType"],
            IntegrationUri=inputs["integrationUri"],
            IntegrationMethod=inputs["integrationMethod"],
            PayloadFormatVersion=inputs["payloadFormatVersion"],
        )
        return made["IntegrationId"], {}

    def _route(self, _: str, inputs: dict[str, Any]) -> Made:
        made = self._aws["apigatewayv2"].create_route(
            ApiId=inputs["apiId"],
            RouteKey=inputs["routeKey"],
            Target=inputs["target"],
            AuthorizationType=inputs["authorizationType"],
            AuthorizerId=inputs["authorizerId"],
            AuthorizationScopes=inputs["authorizationScopes"],
        )
        return made["RouteId"], {}

    def _stage(self, _: str, inputs: dict[str, Any]) -> Made:
        self._aws["apigatewayv2"].create_stage(ApiId=inputs["apiId"], StageName=inputs["name"], AutoDeploy=inputs["autoDeploy"])
        return inputs["name"], {}


def provider(place: dict[str, str] | None) -> Callable[[str, str, dict[str, Any]], Made]:
    """The maker of a recording: in ministack where a place is given, else made up."""
    return Provider(Place(**place)).state_of if place else made_up.state_of
