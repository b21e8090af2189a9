"""ML Commons' REST interface, as far as a pipeline needs it; opensearch-py has no names for it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from opensearchpy import exceptions as osx

from reranker.errors import FirstStageError
from reranker_opensearch.connection import Cluster
from reranker_opensearch.mapping import OWNER

_BASE = "/_plugins/_ml"
_DEPLOY_S = 60.0
_FIRST_KEY_S = 60.0
_AGAIN_S = 3.0
_KEY_MAKER = f"{OWNER} key"
USABLE = ("DEPLOYED", "PARTIALLY_DEPLOYED")
"""A model that only some nodes have answers too: requests go to those."""


class MLCommons:
    """Remote models, each with its connector, and model groups of one cluster. Every method raises opensearch-py's exceptions."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._has_key = False

    def model(self, model_id: str) -> dict[str, Any] | None:
        """Return a model with its connector (never that one's credential), or None where there is none."""
        return self._get(f"/models/{model_id}")

    def register(self, name: str, connector: Mapping[str, Any], group_id: str | None) -> str:
        """Register a remote model, deploy it, wait until it answers, and return its id.

        The connector is a part of the model. One of its own could not always be deleted: ML Commons 2.19 looks for the
        models that use it among the words of their connectors' ids, and all ids that a node makes may share a word.

        Raises:
            FirstStageError: it cannot be deployed.
        """
        if not self._has_key:
            self._make_key(connector)
        body = {"name": name, "function_name": "remote", "connector": dict(connector)} | ({"model_group_id": group_id} if group_id else {})
        task = self._ask("POST", "/models/_register", body, {"deploy": "true"})
        model_id = str(task.get("model_id") or "")
        until = time.monotonic() + _DEPLOY_S
        while not model_id:
            state = self._ask("GET", f"/tasks/{task['task_id']}")
            model_id = str(state.get("model_id") or "")
            if not model_id and (state.get("state") == "FAILED" or time.monotonic() > until):
                raise FirstStageError(
                    f"OpenSearch could not register the model '{name}': {state.get('error') or state.get('state')}.", hint="Its log says more."
                )
            time.sleep(0.1)
        if (reached := self._await_deployment(model_id)) not in USABLE:
            self.delete_model(model_id)
            raise FirstStageError(
                f"OpenSearch could not deploy the model '{name}': it is {reached}.",
                hint="Its log says more; is there a node that may run models (plugins.ml_commons.only_run_on_ml_node)?",
            )
        return model_id

    def _make_key(self, connector: Mapping[str, Any]) -> None:
        """Have ML Commons make the key that it keeps credentials with, where the cluster has none yet.

        A connector that is deleted again does that. The first model would too, but where the key takes longer than three
        seconds (always on a node with one processor), ML Commons 2.19 loses the error and never answers who registers it.
        """
        body = {**connector, "name": _KEY_MAKER, "credential": {"api_key": "none"}}
        until = time.monotonic() + _FIRST_KEY_S
        while True:
            try:
                self._ask("POST", "/connectors/_create", body)
                break
            except osx.TransportError as error:
                if "master key" not in str(error) or time.monotonic() > until:
                    raise
            time.sleep(1)
        self._has_key = True
        self.delete_key_makers()

    def delete_key_makers(self) -> None:
        """Delete the connectors that made the cluster's key; one that ML Commons takes for a part of somebody else's model (see ``register``) stays."""
        for connector_id in self._named("/connectors/_search", _KEY_MAKER):
            with suppress(osx.ConflictError):
                self._delete(f"/connectors/{connector_id}")

    def deploy(self, model_id: str) -> None:
        """Deploy a model that is there but not deployed, and wait for it."""
        self._ask("POST", f"/models/{model_id}/_deploy")
        self._await_deployment(model_id)

    def _await_deployment(self, model_id: str) -> str:
        """Wait until a model is deployed, trying again where nodes failed (one just started may lack the key to credentials), and return its state."""
        began = tried = time.monotonic()
        while True:
            state = str((self.model(model_id) or {}).get("model_state"))
            now = time.monotonic()
            if state == "DEPLOYED" or now - began > _DEPLOY_S:
                return state
            if state != "DEPLOYING" and now - tried > _AGAIN_S:
                tried = now
                with suppress(osx.TransportError):  # it may have begun by itself
                    self._ask("POST", f"/models/{model_id}/_deploy")
            time.sleep(0.1)

    def predict(self, model_id: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Call a remote model with ready parameters, all of them text."""
        return self._ask("POST", f"/models/{model_id}/_predict", {"parameters": dict(parameters)})

    def delete_model(self, model_id: str) -> None:
        """Undeploy and delete a model."""
        model = self.model(model_id)
        if model is None:
            return
        self._ask("POST", f"/models/{model_id}/_undeploy")
        until = time.monotonic() + _DEPLOY_S
        while (model or {}).get("model_state") in ("DEPLOYED", "DEPLOYING", "PARTIALLY_DEPLOYED") and time.monotonic() < until:
            time.sleep(0.1)
            model = self.model(model_id)
        self._delete(f"/models/{model_id}")

    def delete_group(self, name: str) -> None:
        """Delete the model group of that name, which ML Commons makes for a model that is given none; it must be empty.

        It is so as soon as its index has noticed that its models are gone, within a second or two.
        """
        for group_id in self._named("/model_groups/_search", name):
            for attempt in range(20):
                try:
                    self._delete(f"/model_groups/{group_id}")
                    break
                except osx.ConflictError:
                    if attempt == 19:
                        raise
                time.sleep(0.25)

    def group(self, name: str) -> str:
        """Return the id of the model group of that name, made where there is none."""
        found = self._named("/model_groups/_search", name)
        return found[0] if found else str(self._ask("POST", "/model_groups/_register", {"name": name})["model_group_id"])

    def models_named(self, name: str) -> list[str]:
        """Return the ids of the models of that name."""
        return self._named("/models/_search", name)

    def _named(self, path: str, name: str) -> list[str]:
        try:
            answer = self._ask("POST", path, {"query": {"term": {"name.keyword": name}}, "size": 100, "_source": ["name"]})
        except osx.NotFoundError:  # nothing was ever made, so there is no index to search
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
