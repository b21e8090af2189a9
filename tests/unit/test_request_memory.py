"""Memory for requests: who gets it, who waits, and that all of it comes back."""

from __future__ import annotations

import asyncio
import json

import pytest
from fastapi.testclient import TestClient

from reranker import Reranker
from reranker.cli.commands.serve import bytes_of
from reranker.errors import BusyError, InputError
from reranker.service import create_app
from reranker.service.limits import Limits
from reranker.service.memory import BodyMemory, cost_of_body

TOTAL = 6_400  # large requests: more than 100; all of them together: 4,800


def test_large_requests_wait_in_their_order_and_small_ones_do_not() -> None:
    async def scenario() -> list[str]:
        memory, order = BodyMemory(TOTAL), []

        async def request(name: str, cost: int) -> None:
            reservation = await memory.reserve(cost)
            order.append(name)
            await asyncio.sleep(0)
            reservation.release()

        first = await memory.reserve(4_800)
        waiting = [asyncio.create_task(request(name, cost)) for name, cost in (("large", 4_000), ("larger", 4_800), ("small", 100))]
        await asyncio.sleep(0.01)
        assert order == ["small"]
        first.release()
        await asyncio.gather(*waiting)
        assert memory.used == 0
        return order

    assert asyncio.run(scenario()) == ["small", "large", "larger"]


def test_a_request_that_gives_up_leaves_its_place() -> None:
    async def scenario() -> None:
        memory = BodyMemory(TOTAL)
        first = await memory.reserve(4_800)
        impatient = asyncio.create_task(memory.reserve(4_800))
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.gather(impatient, return_exceptions=True)
        first.release()
        (await memory.reserve(4_800)).release()
        assert memory.used == 0

    asyncio.run(scenario())


def test_a_reservation_grows_only_if_that_needs_no_waiting() -> None:
    async def scenario() -> None:
        memory = BodyMemory(TOTAL)
        small, large = await memory.reserve(50), await memory.reserve(4_000)
        memory.extend(small, 700)
        with pytest.raises(BusyError):
            memory.extend(large, 5_000)
        small.release()
        large.release()
        assert memory.used == 0
        (await memory.reserve(4_800)).release()  # nothing of the large share is left behind

    asyncio.run(scenario())


def test_memory_is_held_until_work_that_outlives_the_request_has_ended() -> None:
    async def scenario() -> None:
        memory = BodyMemory(TOTAL)
        reservation = await memory.reserve(1_000)
        release = reservation.hold()
        reservation.release()
        assert memory.used == 1_000
        await asyncio.to_thread(release)
        await asyncio.sleep(0)
        assert memory.used == 0

    asyncio.run(scenario())


def test_many_small_values_cost_more_than_text() -> None:
    lists, text = b"[" + b"[]," * 1_000 + b"[]]", b'"' + b"x" * 3_000 + b'"'
    assert cost_of_body(lists) > 20 * cost_of_body(text) / 3


def test_a_body_of_too_many_values_is_refused_and_others_are_not(reranker: Reranker) -> None:
    with TestClient(create_app(reranker, limits=Limits(memory_bytes=16 * 1024 * 1024))) as client:
        headers = {"content-type": "application/json"}
        many = b'{"query": "laptop", "documents": ["laptop"], "model": [' + b"[]," * 60_000 + b"[]]}"
        refused = client.post("/v2/rerank", content=many, headers=headers)
        assert (refused.status_code, refused.json()["error"]["message"]) == (413, "The request body holds too many JSON values.")
        long = json.dumps({"query": "laptop", "documents": ["x" * 15_000] * 60}).encode()  # as long, but of few values
        assert client.post("/v2/rerank", content=long, headers=headers).status_code == 200
        too_long = json.dumps({"query": "laptop", "documents": ["x" * 19_000] * 70}).encode()
        assert client.post("/v2/rerank", content=too_long, headers=headers).status_code == 413
        metrics = client.get("/metrics").text
        assert 'reranker_memory_budget_bytes{share="bodies"} 1.048576e+07' in metrics
        assert 'reranker_memory_used_bytes{share="bodies"} 0.0' in metrics


@pytest.mark.parametrize(("size", "expected"), [("256MiB", 268_435_456), ("1GB", 1_000_000_000), ("300000000", 300_000_000)])
def test_sizes_of_the_memory_budget(size: str, expected: int) -> None:
    assert bytes_of(size) == expected


@pytest.mark.parametrize("size", ["", "much", "-1GB", "1MB", "1e999"])
def test_an_unusable_memory_budget_gets_a_clear_error(size: str) -> None:
    with pytest.raises(InputError, match="--memory-budget"):
        bytes_of(size)


def test_memory_that_comes_back_while_a_request_gives_up_is_not_lost() -> None:
    async def scenario() -> None:
        memory = BodyMemory(TOTAL)
        first = await memory.reserve(4_800)
        waiting = asyncio.create_task(memory.reserve(4_800))
        await asyncio.sleep(0)
        waiting.cancel()
        asyncio.get_running_loop().call_soon(first.release)  # between the cancellation and its being noticed
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.sleep(0)
        assert memory.used == 0

    asyncio.run(scenario())


def test_those_behind_a_request_that_gives_up_are_served() -> None:
    async def scenario() -> None:
        memory = BodyMemory(TOTAL)
        first = await memory.reserve(2_000)
        too_much = asyncio.create_task(memory.reserve(4_000))
        behind = asyncio.create_task(memory.reserve(1_000))
        await asyncio.sleep(0)
        assert not behind.done()
        too_much.cancel()
        (await asyncio.wait_for(behind, 5)).release()
        first.release()

    asyncio.run(scenario())
