"""``reranker bundle rollout|shadow|promote|rollback|status``: the bundles of a running service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from reranker.cli.options import ApiKeyFile, AsJson
from reranker.errors import InputError

Service = Annotated[str, typer.Option("--service", metavar="URL", help="The running `reranker serve`.")]
HERE = "http://127.0.0.1:8000"


def rollout(
    bundle: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A bundle in the service's --bundles folder. Default: read --bundle again.")] = None,
    service: Service = HERE,
    api_key_file: ApiKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Switch a running service to another bundle, without dropping a request."""
    _change(service, api_key_file, as_json, "POST", "reload", None if bundle is None else {"path": bundle})


def shadow(
    bundle: Annotated[str | None, typer.Argument(metavar="NAME", help="A bundle in the service's --bundles folder.")] = None,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the shadow.")] = False,
    service: Service = HERE,
    api_key_file: ApiKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Score a running service's traffic with a second bundle too, without using its scores. `status` shows their agreement."""
    if stop == (bundle is not None):
        raise InputError("Give either a bundle or --stop.", hint="reranker bundle shadow NAME")
    if stop:
        _change(service, api_key_file, as_json, "DELETE", "shadow")
    else:
        _change(service, api_key_file, as_json, "POST", "shadow", {"path": bundle})


def promote(service: Service = HERE, api_key_file: ApiKeyFile = None, as_json: AsJson = False) -> None:
    """Switch a running service to its shadow."""
    _change(service, api_key_file, as_json, "POST", "promote")


def rollback(service: Service = HERE, api_key_file: ApiKeyFile = None, as_json: AsJson = False) -> None:
    """Return a running service to its previous bundle."""
    _change(service, api_key_file, as_json, "POST", "rollback")


def status(service: Service = HERE, api_key_file: ApiKeyFile = None, as_json: AsJson = False) -> None:
    """Show the bundles of a running service, and its shadow's results."""
    from reranker.cli.service_client import ask

    answer = ask(service, "GET", "/bundles", api_key_file=api_key_file)
    print(json.dumps(answer, indent=2, ensure_ascii=False) if as_json else "\n".join(_lines(answer)))


def _change(service: str, api_key_file: Path | None, as_json: bool, method: str, action: str, body: dict[str, Any] | None = None) -> None:
    from reranker.cli.service_client import ask

    answer = ask(service, method, f"/bundles/{action}", body, api_key_file=api_key_file)
    print(json.dumps(answer, indent=2, ensure_ascii=False) if as_json else "\n".join([answer.get("message", ""), *_lines(answer)]))


def _lines(answer: dict[str, Any]) -> list[str]:
    lines = [f"{role:<10}{_bundle(answer[role])}" for role in ("serving", "previous", "shadow") if answer.get(role)]
    if answer.get("shadow"):
        lines.append(f"{'':<10}{_shadow(answer['shadow'])}")
    if error := answer.get("last_error"):
        lines.append(f"{'failed':<10}{error['action']} ({error['trigger']}) at {error['at']}: {error['message']}")
    return lines


def _bundle(bundle: dict[str, Any]) -> str:
    return f"{bundle['model']}, since {bundle['since']}, from {bundle['path']}"


def _shadow(shadow: dict[str, Any]) -> str:
    tau, top = shadow["agreement"]["kendall_tau"], shadow["agreement"]["top_10_overlap"]
    parts = [f"{shadow['samples']:,} requests scored"]
    if shadow["mean_ms"] is not None:
        parts.append(f"{shadow['mean_ms']:.1f} ms each")
    parts.append(f"{shadow['failures']:,} failed, {shadow['dropped']:,} dropped")
    parts.append("agreement not measured yet" if tau is None else f"Kendall's tau {tau:.3f}")
    if top is not None:
        parts.append(f"{top:.0%} of the ten best shared")
    return "; ".join(parts)
