"""A certificate authority of the stack's own, for Base C's nodes: no public one vouches for private addresses."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pulumi
import pulumi_tls as tls

_TEN_YEARS, _RENEW = 10 * 365 * 24, 365 * 24  # hours; a certificate in its last year is made anew by the next `pulumi up`


class Certificate(NamedTuple):
    """A certificate and its key (PKCS #8), both PEM; the key is a secret."""

    pem: pulumi.Output[str]
    key: pulumi.Output[str]


@dataclass(frozen=True)
class AuthorityArgs:
    """The authority's name, and whom it vouches for: host name -> IPv4 address."""

    common_name: str
    hosts: Mapping[str, str]


class Authority(pulumi.ComponentResource):
    """`ca_pem` (public), `certificates` by host."""

    def __init__(self, name: str, args: AuthorityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("consumidor:infra:Authority", name, None, opts)
        self._name, self._child = name, pulumi.ResourceOptions(parent=self)
        self._key = tls.PrivateKey(f"{name}-ca", algorithm="ECDSA", ecdsa_curve="P256", opts=self._child)
        self._ca = tls.SelfSignedCert(
            f"{name}-ca",
            private_key_pem=self._key.private_key_pem,
            subject=tls.SelfSignedCertSubjectArgs(common_name=args.common_name),
            is_ca_certificate=True,
            allowed_uses=["cert_signing", "crl_signing", "digital_signature"],
            validity_period_hours=_TEN_YEARS,
            early_renewal_hours=_RENEW,
            opts=self._child,
        )
        self.ca_pem = self._ca.cert_pem
        self.certificates = {host: self._certificate(host, address) for host, address in args.hosts.items()}
        self.register_outputs({})

    def _certificate(self, host: str, address: str) -> Certificate:
        pair = tls.PrivateKey(host, algorithm="ECDSA", ecdsa_curve="P256", opts=self._child)
        request = tls.CertRequest(
            host,
            private_key_pem=pair.private_key_pem,
            subject=tls.CertRequestSubjectArgs(common_name=host),
            dns_names=[host],
            ip_addresses=[address],
            opts=self._child,
        )
        signed = tls.LocallySignedCert(
            host,
            cert_request_pem=request.cert_request_pem,
            ca_private_key_pem=self._key.private_key_pem,
            ca_cert_pem=self._ca.cert_pem,
            allowed_uses=["digital_signature", "key_encipherment", "server_auth", "client_auth"],
            validity_period_hours=_TEN_YEARS,
            early_renewal_hours=_RENEW,
            opts=self._child,
        )
        return Certificate(signed.cert_pem, pair.private_key_pem_pkcs8)
