"""Fixture: an OpenSearch with the security plugin: TLS with a private certificate authority, users and passwords."""

from __future__ import annotations

import base64
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import opensearch_container

CONFIG = "/usr/share/opensearch/config"
USER = "admin"
PASSWORD = "sh0p:pass/word@1"  # with characters that have a meaning in a URL
USERS = """
_meta:
  type: internalusers
  config_version: 2
admin:
  hash: "$2y$12$4cxwmpv6pqFBhz3UM.iUbe0eRADfQ.vMdM9t2c0mw6k.KE26udQWe"  # of PASSWORD
  reserved: true
  backend_roles: [admin]
"""


class SecuredOpenSearch(NamedTuple):
    """Address and credentials for clients."""

    url: str
    user: str
    password: str
    authority: Path  # the certificate to trust

    def environment(self) -> dict[str, str]:
        """Return the environment variables that give user, password and certificate authority to commands."""
        return {"OPENSEARCH_USER": self.user, "OPENSEARCH_PASSWORD": self.password, "OPENSEARCH_CA_CERTS": str(self.authority)}


@pytest.fixture(scope="session")
def secured_opensearch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredOpenSearch]:
    """An OpenSearch that requires https, a user and a password."""
    folder = tmp_path_factory.mktemp("certificates")
    certify(folder)
    settings = {
        "discovery.type": "single-node",
        "DISABLE_SECURITY_PLUGIN": "false",
        "plugins.security.allow_default_init_securityindex": "true",
        "plugins.security.ssl.http.enabled": "true",
        "plugins.security.nodes_dn": "CN=node",
        "plugins.security.restapi.roles_enabled": "all_access",  # may create users and roles
    }
    for layer in ("http", "transport"):
        settings |= {
            f"plugins.security.ssl.{layer}.pemcert_filepath": "certificates/node.pem",
            f"plugins.security.ssl.{layer}.pemkey_filepath": "certificates/node-key.pem",
            f"plugins.security.ssl.{layer}.pemtrustedcas_filepath": "certificates/authority.pem",
        }
    container = opensearch_container.node("512m", **settings).with_exposed_ports(9200)
    for name in ("authority.pem", "node.pem", "node-key.pem"):  # copied, so that the container's user may read them
        container.with_copy_into_container(folder / name, f"{CONFIG}/certificates/{name}")
    container.with_copy_into_container(USERS.encode(), f"{CONFIG}/opensearch-security/internal_users.yml")
    try:
        opensearch_container.start(container)
        secured = SecuredOpenSearch(f"https://{opensearch_container.address(container)}", USER, PASSWORD, folder / "authority.pem")
        basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        trusted = ssl.create_default_context(cafile=secured.authority)
        opensearch_container.await_answer(container, secured.url, tls=trusted, headers={"Authorization": f"Basic {basic}"})
        yield secured
    finally:
        container.stop()


def certify(folder: Path) -> None:
    """Create a certificate authority, and a node certificate for this machine signed by it."""
    _openssl(folder, "authority", "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
    _openssl(
        folder,
        "node",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "extendedKeyUsage=serverAuth,clientAuth",
        signed=("-CA", "authority.pem", "-CAkey", "authority-key.pem"),
    )


def _openssl(folder: Path, name: str, *extensions: str, signed: tuple[str, ...] = ()) -> None:
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    files = ["-keyout", f"{name}-key.pem", "-out", f"{name}.pem"]
    more = [part for extension in extensions for part in ("-addext", extension)]
    subprocess.run([*new, *files, *more, *signed], cwd=folder, check=True, capture_output=True)
