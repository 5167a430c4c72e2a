"""What was used: GET /v1/usage and `sluice usage`, and that every call is counted once."""

import datetime
import json

import pytest

from tests.e2e.client import Api, until
from tests.e2e.test_tool import Tool

SAY = "[[sim ttft=5 tokens=10 usage_in=100 usage_out=10]] x"
COUNTS = {"calls", "input_tokens", "cached_input_tokens", "output_tokens", "cost", "unpriced_calls"}


def usage(api, **params):
    answer = api.http.get("/v1/usage", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def total(api, **params):
    return usage(api, **params)["total"]


def test_every_call_is_counted_once(stack):
    """Ten jobs, ten calls: sums by whatever they are taken, the tenant's own and all tenants'."""
    api, boss = Api(stack.url, stack.keys["counted"]), Api(stack.url, stack.keys["boss"])
    before = total(boss)
    jobs = [api.submit_ok("say", {"text": SAY}) for _ in range(10)]
    ended = [api.wait(job) for job in jobs]
    assert all(job["status"] == "succeeded" for job in ended)
    until(lambda: total(api)["calls"] >= 10, 10, what="ten calls in the counters")
    got = usage(api, by="workflow")
    assert got["tenant"] == "counted" and got["since"] and not got["has_more"]
    assert [row["workflow"] for row in got["data"]] == ["say"] and set(got["data"][0]) == COUNTS | {"workflow"}
    assert got["total"]["calls"] == 10 and got["total"]["input_tokens"] == 1000 and got["total"]["output_tokens"] == 100
    assert got["total"]["cost"] == pytest.approx(sum(job["cost"] for job in ended), rel=0.01)
    assert [row["model"] for row in usage(api, by="model")["data"]] == ["fast"]
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    assert [row["day"] for row in usage(api)["data"]][-1] == today
    everybody = {row["tenant"]: row for row in usage(boss, by="tenant")["data"]}
    assert everybody["counted"]["calls"] == 10
    after = total(boss)
    assert after["calls"] >= before["calls"] + 10 and after["input_tokens"] >= before["input_tokens"] + 1000
    assert usage(boss, by="tenant", tenant="counted")["total"]["calls"] == 10


def test_lists_show_usage_and_cost(stack):
    api = Api(stack.url, stack.keys["counted"])
    job = api.wait(api.submit_ok("say", {"text": SAY}))
    row = next(r for r in api.http.get("/v1/jobs").json()["data"] if r["id"] == job["id"])
    assert row["usage"] == job["usage"] and row["cost"] == pytest.approx(job["cost"]) and job["usage"]["input_tokens"] == 100
    held = api.submit_ok("say", {"text": "[[sim ttft=20000 tokens=1]]"})
    row = next(r for r in api.http.get("/v1/jobs").json()["data"] if r["id"] == held)
    assert row["usage"] is None and row["cost"] is None
    assert api.http.post(f"/v1/jobs/{held}/cancel").status_code == 202
    api.wait(held)


def test_walls(stack):
    """A key sees its own tenant; only admin sees others, and all of them."""
    reader, boss = Api(stack.url, stack.keys["counted"]), Api(stack.url, stack.keys["boss"])
    assert usage(reader)["tenant"] == "counted" == usage(reader, tenant="counted")["tenant"]
    for api in (reader, boss):  # both have something to show
        api.wait(api.submit_ok("say", {"text": SAY}))
        until(lambda: total(api, tenant="counted" if api is reader else "boss")["calls"] > 0, 10, what="a call in the counters")
    assert [row["tenant"] for row in usage(reader, by="tenant")["data"]] == ["counted"]

    def own():
        """The sums of a tenant, however it asks; an earlier call may still be on its way into the counters."""
        sums = [total(reader, by=by, **more) for by in ("tenant", "workflow", "model", "day") for more in ({}, {"tenant": "counted"})]
        return sums[0] if all(each == sums[0] for each in sums) else None
    own = until(own, 10, what="the same sums by whatever they are taken")
    everybody = total(boss)
    assert everybody["calls"] >= own["calls"] + total(boss, tenant="boss")["calls"] > own["calls"]
    for name in ("boss", "small", "nobody-is-called-so"):
        answer = reader.http.get("/v1/usage", params={"tenant": name})
        assert answer.status_code == 403 and answer.json()["code"] == "insufficient_scope"
    assert Api(stack.url, None).http.get("/v1/usage").status_code == 401
    assert usage(boss)["tenant"] is None and usage(boss, tenant="boss")["tenant"] == "boss"


@pytest.mark.parametrize("name, value", [
    ("by", "hour"), ("by", ""), ("from", "yesterday"), ("from", "2026-02-30"), ("to", "2026-1-1"), ("to", "1969-12-31"),
    ("from", "9999-01-01"), ("from", "2020-01-01"), ("limit", "0"), ("limit", "1001"), ("limit", "x"), ("after", ""), ("tenant", ""),
])
def test_bad_values_are_named(api, name, value):
    answer = api.http.get("/v1/usage", params={name: value})
    assert answer.status_code == 400, answer.text
    body = answer.json()
    # a day that is one, but not before `to` or too long before it, is a fault of the span
    is_day = name == "from" and value[:4] in ("9999", "2020")
    assert body["code"] == "invalid_request" and body["error"]["param"] == ("to" if is_day else name)


def test_tenants_are_paged(stack):
    boss, seen, after = Api(stack.url, stack.keys["boss"]), [], None
    for _ in range(20):
        page = usage(boss, by="tenant", limit=1, **({"after": after} if after else {}))
        seen += [row["tenant"] for row in page["data"]]
        after = page["next"]
        if not page["has_more"]:
            break
    assert not page["has_more"] and seen == sorted(set(seen))
    assert set(seen) == {row["tenant"] for row in usage(boss, by="tenant")["data"]}


def test_the_tool(stack):
    tool = Tool(stack.url, stack.keys["boss"])
    table = tool.ok("usage", "--by", "tenant").splitlines()
    assert "all tenants" in table[0] and table[1].split() == ["TENANT", "CALLS", "INPUT", "CACHED", "OUTPUT", "COST"]
    assert table[-1].startswith("total") or table[-2].startswith("total"), table
    assert len({len(line) for line in table[1:] if "counted since" not in line and ">" not in line}) == 1, "columns"
    assert json.loads(tool.ok("usage", "--json", "--by", "model"))["by"] == "model"
    assert tool.run("usage", "--by", "hour").returncode == 2
    refused = Tool(stack.url, stack.keys["counted"]).run("usage", "--tenant", "boss")
    assert refused.returncode == 1 and "admin" in refused.stderr
