"""compose.yaml and kubernetes.yaml agree with the command line, the service, the image and each other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from reranker import Reranker
from reranker.cli.app import app
from reranker.service import create_app
from tests.tiny_bundle import make_tiny_bundle

DOCKER = Path(__file__).parents[2] / "docker"
RESOURCES: list[dict[str, Any]] = list(yaml.safe_load_all((DOCKER / "kubernetes.yaml").read_text(encoding="utf-8")))
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
OURS = {name: service for name, service in COMPOSE["services"].items() if name != "opensearch"}


def resource(kind: str) -> dict[str, Any]:
    (found,) = (one["spec"] for one in RESOURCES if one["kind"] == kind)
    return found


POD = resource("Deployment")["template"]
CONTAINER = POD["spec"]["containers"][0]


@pytest.mark.parametrize("version", ["1.29", "1.33"])
@pytest.mark.parametrize("found", RESOURCES, ids=lambda found: found["kind"])
def test_kubernetes_accepts_the_resources(found: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(found, version, strict=True)


def test_the_validation_notices_unknown_fields() -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(RESOURCES[0] | {"spec": resource("Deployment") | {"replica": 2}}, "1.33", strict=True)


def test_all_resources_select_the_same_pods() -> None:
    labels = POD["metadata"]["labels"]
    assert resource("Deployment")["selector"]["matchLabels"] == resource("Service")["selector"] == resource("PodDisruptionBudget")["selector"]["matchLabels"]
    assert resource("Service")["selector"].items() <= labels.items()
    assert resource("HorizontalPodAutoscaler")["scaleTargetRef"]["name"] == next(one["metadata"]["name"] for one in RESOURCES if one["kind"] == "Deployment")
    assert resource("PodDisruptionBudget")["minAvailable"] < resource("HorizontalPodAutoscaler")["minReplicas"]


def test_the_pod_fits_the_image() -> None:
    dockerfile = (DOCKER / "service" / "Dockerfile").read_text(encoding="utf-8")
    user = POD["spec"]["securityContext"]
    assert re.search(r"^USER (\d+:\d+)$", dockerfile, re.MULTILINE).group(1) == f"{user['runAsUser']}:{user['runAsGroup']}"  # type: ignore[union-attr]
    assert user["runAsNonRoot"] is True
    assert re.search(r"^VOLUME (\S+)$", dockerfile, re.MULTILINE).group(1) in [mount["mountPath"] for mount in CONTAINER["volumeMounts"]]  # type: ignore[union-attr]
    assert f"EXPOSE {CONTAINER['ports'][0]['containerPort']}\n" in dockerfile
    assert CONTAINER["securityContext"] == {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_probes_use_endpoints_of_the_service(tmp_path: Path) -> None:
    paths = create_app(Reranker.load(make_tiny_bundle(tmp_path / "bundle"), threads=1)).openapi()["paths"]
    assert {CONTAINER["livenessProbe"]["httpGet"]["path"], CONTAINER["readinessProbe"]["httpGet"]["path"]} <= paths.keys()


@pytest.mark.parametrize("arguments", [CONTAINER["args"], *(service["command"] for service in OURS.values())], ids=lambda arguments: arguments[0])
def test_the_command_line_knows_every_option(arguments: list[str]) -> None:
    command = typer.main.get_command(app).commands[arguments[0]]  # type: ignore[attr-defined]
    command.make_context(arguments[0], arguments[1:])  # fails on an option or value that it does not take


@pytest.mark.parametrize("service", COMPOSE["services"])
def test_compose_opens_ports_on_this_machine_only_and_limits_memory(service: str) -> None:
    found = COMPOSE["services"][service]
    assert all(port.startswith("127.0.0.1:") for port in found.get("ports", []))
    assert found["mem_limit"]


@pytest.mark.parametrize("service", OURS)
def test_compose_runs_the_image_with_no_more_rights_than_it_needs(service: str) -> None:
    found = OURS[service]
    assert (found["read_only"], found["cap_drop"], found["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"])
    assert found["image"].endswith("local/distilled-reranker:latest}")  # as build.sh names it
