"""``reranker bundle``: shows and verifies bundles, and changes those of a running service."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from reranker.bundle import load_bundle
from reranker.cli.options import ApiKeyFile, AsJson
from reranker.errors import InputError, ServiceError
from reranker.text import clean

app = typer.Typer(help="Show or verify a bundle (a student ready to serve), or change the bundles of a running service.", no_args_is_help=True)
Folder = Annotated[Path | None, typer.Argument(metavar="[DIR|NAME]", help="The bundle's folder, or the name of a shipped one. Default: `default`.")]

Service = Annotated[str, typer.Option("--service", metavar="URL", help="The running `reranker serve`.")]
HERE = "http://127.0.0.1:8000"
_TIMEOUT_S = 300
_KEY_HINT = "Give the service's key with --api-key-file FILE or in RERANKER_API_KEY."
_RUNNING = "Bundles of a running service"

# --json and the model card show the rest
_SHOWN_METRICS = ("queries", "ndcg@10", "not_measured", "precision", "teacher_agreement", "latency_ms")


@app.command()
def show(bundle: Folder = None, as_json: AsJson = False) -> None:
    """Show a bundle's student, teacher, measured quality and licences."""
    from rich.console import Console
    from rich.table import Table

    loaded = load_bundle(bundle)
    manifest = loaded.manifest
    if as_json:
        print(manifest.model_dump_json(indent=2))
        return
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("bundle", f"{manifest.name}, version {loaded.version}, made {manifest.created}")
    table.add_row("folder", str(loaded.path))
    table.add_row("size", f"{sum(f.bytes for f in manifest.files.values()) / 1e6:.1f} MB")
    table.add_row("reads", f"{clean(', '.join(manifest.template.fields))}; at most {manifest.max_length} tokens")
    for name in ("student", "teacher", "training"):
        table.add_row(name, json.dumps(getattr(manifest, name), ensure_ascii=False))
    table.add_row("metrics", json.dumps({k: v for k, v in manifest.metrics.items() if k in _SHOWN_METRICS}, ensure_ascii=False))
    if "MODEL_CARD.md" in manifest.files:
        table.add_row("card", str(loaded.path / "MODEL_CARD.md"))
    table.add_row("licences", clean("; ".join(" ".join(entry.values()) for entry in manifest.licences)))
    table.add_row("trained on", f"{len(manifest.seen.intents)} judged intents, {len(manifest.seen.queries)} judged queries")
    Console(soft_wrap=True).print(table)


@app.command()
def verify(bundle: Folder = None, as_json: AsJson = False) -> None:
    """Check every file against the manifest, and that the student's scores are usable. A service checks the same before it uses a bundle."""
    from reranker.reranker import Reranker
    from reranker.verification import verify as verify_scores

    reranker = Reranker.load(bundle)
    verify_scores(reranker)
    score = float(reranker.score("laptop", ["a laptop computer"])[0])
    result = {"bundle": str(reranker.bundle.path), "version": reranker.bundle.version, "ok": True, "score_of_a_laptop": round(score, 4)}
    print(json.dumps(result) if as_json else f"{reranker.bundle.path} is valid. Relevance of 'a laptop computer' for 'laptop': {score:.4f}")


@app.command(rich_help_panel=_RUNNING)
def rollout(
    bundle: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A bundle in the service's --bundles folder. Default: read --bundle again.")] = None,
    service: Service = HERE,
    api_key_file: ApiKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Switch a running service to another bundle, without dropping a request."""
    _change(service, api_key_file, as_json, "POST", "reload", None if bundle is None else {"path": bundle})


@app.command(rich_help_panel=_RUNNING)
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


@app.command(rich_help_panel=_RUNNING)
def promote(service: Service = HERE, api_key_file: ApiKeyFile = None, as_json: AsJson = False) -> None:
    """Switch a running service to its shadow."""
    _change(service, api_key_file, as_json, "POST", "promote")


@app.command(rich_help_panel=_RUNNING)
def rollback(service: Service = HERE, api_key_file: ApiKeyFile = None, as_json: AsJson = False) -> None:
    """Return a running service to its previous bundle."""
    _change(service, api_key_file, as_json, "POST", "rollback")


@app.command(rich_help_panel=_RUNNING)
def status(service: Service = HERE, api_key_file: ApiKeyFile = None, as_json: AsJson = False) -> None:
    """Show the bundles of a running service, and its shadow's results."""
    answer = _ask(service, "GET", "/bundles", api_key_file=api_key_file)
    print(json.dumps(answer, indent=2, ensure_ascii=False) if as_json else "\n".join(_lines(answer)))


def _change(service: str, api_key_file: Path | None, as_json: bool, method: str, action: str, body: dict[str, Any] | None = None) -> None:
    answer = _ask(service, method, f"/bundles/{action}", body, api_key_file=api_key_file)
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


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, which could send the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _ask(service: str, method: str, path: str, body: dict[str, Any] | None = None, *, api_key_file: Path | None) -> dict[str, Any]:
    """Send a request with the key of ``api_key_file`` or of the environment, and return the JSON answer.

    Raises:
        InputError: ``service`` is not a URL, or the key cannot be used.
        ServiceError: there is no answer, the key is wrong, or the service refuses, with its message and hint.
    """
    from reranker.service.api_keys import read_keys

    url = urlsplit(service)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise InputError(f"{service} is not a service's address.", hint="Give --service http://HOST:PORT.")
    keys = read_keys(api_key_file, os.environ)
    headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {keys[0]}"} if keys else {})
    if body is not None:
        headers["Content-Type"] = "application/json"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{service.rstrip('/')}{path}", data, headers, method=method)
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=_TIMEOUT_S) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(service, error, has_key=bool(keys)) from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ServiceError(f"No service answers at {service}: {reason}.", hint="Is `reranker serve` running there?") from None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ServiceError(f"The server at {service} is not this project's service.", hint="Check --service.")
    return answer


def _refusal(service: str, error: urllib.error.HTTPError, *, has_key: bool) -> ServiceError:
    if error.code == 401:
        return ServiceError(f"The service at {service} does not accept this key." if has_key else f"The service at {service} needs a key.", hint=_KEY_HINT)
    try:
        problem = json.load(error)["error"]
        return ServiceError(str(problem["message"]), hint=problem["hint"])
    except (ValueError, KeyError, TypeError, OSError, HTTPException):
        return ServiceError(f"The service at {service} answered with HTTP status {error.code}.", hint="Check --service.")
