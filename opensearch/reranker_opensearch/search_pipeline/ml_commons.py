"""The part of ML Commons' REST interface that a pipeline needs; opensearch-py 2.8 has no methods for it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import tenacity
from opensearchpy import exceptions as osx

from reranker.errors import FirstStageError
from reranker_opensearch.connection import Cluster
from reranker_opensearch.mapping import OWNER
from reranker_opensearch.retry import poll

_BASE = "/_plugins/_ml"
_DEPLOY_S = 60.0
_FIRST_KEY_S = 60.0
_REDEPLOY_S = 3.0
_KEY_MAKER = f"{OWNER} key"
USABLE = ("DEPLOYED", "PARTIALLY_DEPLOYED")
"""A model deployed on some of the nodes works too: requests go to those."""


class MLCommons:
    """A cluster's remote models, each with its connector. Every method raises opensearch-py's exceptions."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._has_key = False

    def model(self, model_id: str) -> dict[str, Any] | None:
        """Return a model with its connector, without the credential; None if there is no such model."""
        return self._get(f"/models/{model_id}")

    def register(self, name: str, connector: Mapping[str, Any]) -> str:
        """Register a remote model, deploy it, wait until it is usable, and return its id.

        The connector is embedded in the model. A separate one could not always be deleted: ML Commons 2.19 searches for the
        models that use it by the words of connector ids, and all ids made by one node may share a word.

        Raises:
            FirstStageError: it cannot be deployed.
        """
        if not self._has_key:
            self._make_key(connector)
        body = {"name": name, "function_name": "remote", "connector": dict(connector)}
        task = self._ask("POST", "/models/_register", body, {"deploy": "true"})
        model_id = str(task.get("model_id") or "")
        if not model_id:
            task_path = f"/tasks/{task['task_id']}"
            task = poll(lambda: self._ask("GET", task_path), done=lambda task: "model_id" in task or task.get("state") == "FAILED", seconds=_DEPLOY_S)
            model_id = str(task.get("model_id") or "")
        if not model_id:
            raise FirstStageError(f"OpenSearch could not register the model '{name}': {task.get('error') or task.get('state')}.", hint="Its log says more.")
        if (reached := self._await_deployment(model_id)) not in USABLE:
            self.delete_model(model_id)
            raise FirstStageError(
                f"OpenSearch could not deploy the model '{name}': it is {reached}.",
                hint="Its log says more; is there a node that may run models (plugins.ml_commons.only_run_on_ml_node)?",
            )
        return model_id

    def _make_key(self, connector: Mapping[str, Any]) -> None:
        """Make ML Commons create its encryption key for credentials, if the cluster has none yet.

        Creating a connector does that; it is deleted again. The first model would do it too. But if the key takes longer than three
        seconds (always on a node with one processor), ML Commons 2.19 loses the error and never answers the registration.
        """
        body = {**connector, "name": _KEY_MAKER, "credential": {"api_key": "none"}}
        tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, osx.TransportError) and "master key" in str(error)),
            stop=tenacity.stop_after_delay(_FIRST_KEY_S),
            wait=tenacity.wait_fixed(1),
            reraise=True,
        )(self._ask, "POST", "/connectors/_create", body)
        self._has_key = True
        self.delete_key_makers()

    def delete_key_makers(self) -> None:
        """Delete the connectors of ``_make_key``. One that ML Commons believes to be in use (see ``register``) is left."""
        for connector_id in self._named("/connectors/_search", _KEY_MAKER):
            with suppress(osx.ConflictError):
                self._delete(f"/connectors/{connector_id}")

    def deploy(self, model_id: str) -> None:
        """Deploy an existing model and wait for it."""
        self._ask("POST", f"/models/{model_id}/_deploy")
        self._await_deployment(model_id)

    def _await_deployment(self, model_id: str) -> str:
        """Wait until a model is deployed and return its state. Deploys it again if nodes failed: one just started may lack the encryption key."""
        tried = time.monotonic()

        def state() -> str:
            nonlocal tried
            state = str((self.model(model_id) or {}).get("model_state"))
            if state not in ("DEPLOYED", "DEPLOYING") and time.monotonic() - tried > _REDEPLOY_S:
                tried = time.monotonic()
                with suppress(osx.TransportError):  # it may be deploying already
                    self._ask("POST", f"/models/{model_id}/_deploy")
            return state

        return poll(state, done=lambda state: state == "DEPLOYED", seconds=_DEPLOY_S)

    def predict(self, model_id: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Call a remote model with parameters, all of them strings."""
        return self._ask("POST", f"/models/{model_id}/_predict", {"parameters": dict(parameters)})

    def delete_model(self, model_id: str) -> None:
        """Undeploy and delete a model."""
        if self.model(model_id) is None:
            return
        self._ask("POST", f"/models/{model_id}/_undeploy")
        poll(lambda: (self.model(model_id) or {}).get("model_state"), done=lambda state: state not in (*USABLE, "DEPLOYING"), seconds=_DEPLOY_S)
        self._delete(f"/models/{model_id}")

    def delete_group(self, name: str) -> None:
        """Delete the group of that name, which ML Commons makes for a model without a group.

        A group must be empty. After its models are deleted, its index needs a second or two to notice.
        """
        for group_id in self._named("/model_groups/_search", name):
            tenacity.Retrying(
                retry=tenacity.retry_if_exception_type(osx.ConflictError), stop=tenacity.stop_after_delay(10), wait=tenacity.wait_fixed(0.25), reraise=True
            )(self._delete, f"/model_groups/{group_id}")

    def models_named(self, name: str) -> list[str]:
        """Return the ids of the models of that name."""
        return self._named("/models/_search", name)

    def _named(self, path: str, name: str) -> list[str]:
        try:
            answer = self._ask("POST", path, {"query": {"term": {"name.keyword": name}}, "size": 100, "_source": ["name"]})
        except osx.NotFoundError:  # without any model, ML Commons has no index
            return []
        return [str(hit["_id"]) for hit in answer["hits"]["hits"] if hit["_source"].get("name") == name]

    def _get(self, path: str) -> dict[str, Any] | None:
        try:
            return self._ask("GET", path)
        except osx.NotFoundError:
            return None

    def _delete(self, path: str) -> None:
        with suppress(osx.NotFoundError):
            self._ask("DELETE", path)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = self._cluster.client.transport.perform_request(
            method, _BASE + path, body=dict(body) if body is not None else None, params=dict(params or {})
        )
        return answer
