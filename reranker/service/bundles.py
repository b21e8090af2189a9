"""The endpoints that show and change the service's bundles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from reranker.rollout import Rollout
from reranker.service.access import only_from_this_machine
from reranker.service.answers import ErrorAnswer

_ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorAnswer, "description": "The service has API keys, and none came"},
    403: {"model": ErrorAnswer, "description": "The service has no API keys, and the request came from another machine"},
    409: {"model": ErrorAnswer, "description": "There is nothing to go back to, no shadow, or another change is under way"},
    422: {"model": ErrorAnswer, "description": "The bundle cannot be used, and the old one goes on serving; or its path may not be named"},
}


class LoadedBundle(BaseModel):
    model: str = Field(description="As answers name it: name@version.")
    name: str
    version: str
    created: str
    sha256: str = Field(description="Of model.onnx.")
    manifest_sha256: str = Field(description="Of manifest.json, which holds the checksums of all files.")
    path: str
    since: str = Field(description="Since when it has its present role, UTC.")


class Agreement(BaseModel):
    kendall_tau: float | None = Field(description="Mean over requests: 1 the same order, -1 the reverse.")
    top_10_overlap: float | None = Field(description="Mean share of the serving bundle's ten best among the shadow's, over requests of more than ten products.")


class ShadowBundle(LoadedBundle):
    samples: int = Field(description="Requests it scored.")
    failures: int
    dropped: int = Field(description="Requests that came while its queue was full.")
    mean_ms: float | None
    agreement: Agreement = Field(description="With the bundle that serves now.")


class Bundles(BaseModel):
    serving: LoadedBundle
    previous: LoadedBundle | None
    shadow: ShadowBundle | None
    last_change: dict[str, Any] | None
    last_error: dict[str, Any] | None = Field(description="Of the latest change that failed; None once a reload succeeded.")


class Changed(Bundles):
    message: str = Field(description="What was done.")


class Reload(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"path": "2025-06-01"}})

    path: str | None = Field(None, max_length=1_000, description="A bundle's folder below --bundles; without it, what --bundle names is read again.")


class StartShadow(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"path": "2025-06-01"}})

    path: str = Field(min_length=1, max_length=1_000, description="A bundle's folder below --bundles.")


def bundles_router(rollout: Rollout, *, has_keys: bool) -> APIRouter:
    """Return the endpoints; without keys they answer clients of this machine alone."""
    router = APIRouter(prefix="/bundles", tags=["bundles"], dependencies=[] if has_keys else [Depends(only_from_this_machine)], responses=_ERRORS)

    async def change(make: Callable[[], str]) -> dict[str, Any]:
        message = await asyncio.to_thread(make)  # loading takes seconds; requests go on meanwhile
        return {"message": message, **rollout.status()}

    @router.get("", response_model=Bundles, summary="Which bundles are there?")
    async def bundles() -> dict[str, Any]:
        """The bundle that serves, the one before it, and the one in the shadow with its agreement."""
        return rollout.status()

    @router.post("/reload", response_model=Changed, summary="Roll out a bundle")
    async def reload(body: Reload | None = None) -> dict[str, Any]:
        """Load, verify and warm up a bundle, then let it serve. No request is dropped; if it cannot be used, the old one goes on serving."""
        return await change(lambda: rollout.reload(None if body is None else body.path))

    @router.post("/rollback", response_model=Changed, summary="Go back to the bundle before")
    async def rollback() -> dict[str, Any]:
        """At once: the bundle before is kept in memory. A second time comes back again."""
        return await change(rollout.rollback)

    @router.post("/shadow", response_model=Changed, summary="Try a bundle in the shadow")
    async def start_shadow(body: StartShadow) -> dict[str, Any]:
        """It scores the same traffic after each answer went out. Its order is never used, and clients never see it fail."""
        return await change(lambda: rollout.start_shadow(body.path))

    @router.delete("/shadow", response_model=Changed, summary="Stop the shadow")
    async def stop_shadow() -> dict[str, Any]:
        return await change(rollout.stop_shadow)

    @router.post("/promote", response_model=Changed, summary="Let the shadow serve")
    async def promote() -> dict[str, Any]:
        """The bundle that served is kept to go back to."""
        return await change(rollout.promote)

    return router
