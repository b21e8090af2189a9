"""The endpoints that show and change the service's bundles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from reranker.rollout import Rollout
from reranker.service.access import only_from_this_machine
from reranker.service.models import ErrorAnswer

_ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorAnswer, "description": "The API key is missing or unknown"},
    403: {"model": ErrorAnswer, "description": "The service has no API keys, and the request came from another machine"},
    409: {"model": ErrorAnswer, "description": "There is no previous bundle, no shadow, or another change is in progress"},
    422: {"model": ErrorAnswer, "description": "The bundle cannot be used, and the old one goes on serving; or its path is not below --bundles"},
}


class LoadedBundle(BaseModel):
    model: str = Field(description="name@version, as in other answers.")
    name: str
    version: str
    created: str
    sha256: str = Field(description="Of model.onnx.")
    manifest_sha256: str = Field(description="Of manifest.json, which holds the checksums of all files.")
    path: str
    since: str = Field(description="When it took its present role, UTC.")


class ShadowBundle(LoadedBundle):
    samples: int = Field(description="Requests it scored.")
    failures: int
    dropped: int = Field(description="Requests not scored because its queue was full.")
    mean_ms: float | None
    agreement: dict[str, float | None] = Field(
        description="Means over requests. kendall_tau: 1 for the serving bundle's order, -1 for the reverse. "
        "top_10_overlap: share of its ten best among the shadow's, over requests of more than ten products."
    )


class Bundles(BaseModel):
    serving: LoadedBundle
    previous: LoadedBundle | None
    shadow: ShadowBundle | None
    last_change: dict[str, Any] | None
    last_error: dict[str, Any] | None = Field(description="The latest failed change; null once a reload has succeeded.")


class Changed(Bundles):
    message: str = Field(description="What was done.")


class Reload(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"path": "2025-06-01"}})

    path: str | None = Field(None, max_length=1_000, description="A bundle's folder below --bundles. Without it, --bundle is read again.")


class StartShadow(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"path": "2025-06-01"}})

    path: str = Field(min_length=1, max_length=1_000, description="A bundle's folder below --bundles.")


def bundles_router(rollout: Rollout, *, has_keys: bool) -> APIRouter:
    """Return the endpoints; without keys they answer only clients of this machine."""
    router = APIRouter(prefix="/bundles", tags=["bundles"], dependencies=[] if has_keys else [Depends(only_from_this_machine)], responses=_ERRORS)

    threads = ThreadPoolExecutor(4, thread_name_prefix="bundles")  # one changes the bundles, others say that a change is in progress

    async def change(make: Callable[[], str]) -> dict[str, Any]:
        message = await asyncio.get_running_loop().run_in_executor(threads, make)  # loading takes seconds, requests are served meanwhile
        return {"message": message, **rollout.status()}

    @router.get("", response_model=Bundles, summary="Show the bundles")
    async def bundles() -> dict[str, Any]:
        """Return the serving bundle, the previous one, and the shadow with its agreement."""
        return rollout.status()

    @router.post("/reload", response_model=Changed, summary="Roll out a bundle")
    async def reload(body: Reload | None = None) -> dict[str, Any]:
        """Load, verify and warm up a bundle, then switch to it. No request is dropped. If it cannot be used, the old one goes on serving."""
        return await change(lambda: rollout.reload(None if body is None else body.path))

    @router.post("/rollback", response_model=Changed, summary="Return to the previous bundle")
    async def rollback() -> dict[str, Any]:
        """The previous bundle is kept in memory, so this takes no time. A second rollback undoes the first."""
        return await change(rollout.rollback)

    @router.post("/shadow", response_model=Changed, summary="Start a shadow bundle")
    async def start_shadow(body: StartShadow) -> dict[str, Any]:
        """The shadow scores the same traffic after each answer was sent. Its scores are never used, and clients never see it fail."""
        return await change(lambda: rollout.start_shadow(body.path))

    @router.delete("/shadow", response_model=Changed, summary="Stop the shadow bundle")
    async def stop_shadow() -> dict[str, Any]:
        return await change(rollout.stop_shadow)

    @router.post("/promote", response_model=Changed, summary="Switch to the shadow bundle")
    async def promote() -> dict[str, Any]:
        """The bundle that served so far becomes the previous one."""
        return await change(rollout.promote)

    return router
