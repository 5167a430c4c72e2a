"""The rows of `make bench-pacing`. Each makes its own stack; the provider is the judge."""

import os
import random
import threading
import time

from tests.e2e.client import Api

from . import pace_naive
from .measure import BenchError
from .pace_stage import MODEL, SECOND, WORKERS, Client, Stage, arrivals, hold, mono_ms, prompt

MINUTES = float(os.environ.get("MINUTES", "10"))
WARM_S = 15
LIMITS = {"requests_per_minute": 3000, "input_tokens_per_minute": 360_000, "output_tokens_per_minute": 400_000,
          "algorithm": "sliding", "output": "produced"}  # of calls of 150 / 60 tokens: 2,400 a minute by their input
ERROR = {"size_error": [-0.5, 2.0]}
SEED = 20260101


def _windows(pair):
    return {name: round(found["ratio"], 4) for name, found in pair["windows"].items() if found and found.get("ratio") is not None}


def _verdict(pair):
    interval = pair["interval"]
    oracle = interval.get("oracle") or {}
    return {"binding": interval["binding"], "share": interval["share"], "of_oracle": oracle.get("ratio"),
            "violations": pair["violations"], "over": pair["over"], "refused": pair["refused"],
            "refused_after_change": pair["refused_after_change"], "windows": _windows(pair), "accepted": pair["accepted"],
            "longest_idle_ms": interval.get("longest_idle_ms")}


def _naive(limits, seconds, behavior):
    """The same provider, from its beginning, without us."""
    with Stage(limits, behavior=behavior, workers=1) as stage:
        begin = mono_ms()
        counts = pace_naive.run(stage.stack.provider_url, "sim-key", MODEL, prompt(), seconds, random.Random(SEED))
        found = _verdict(stage.seen(**{"from": begin + WARM_S * 1000, "to": begin + seconds * 1000, "oracle": 1}))
    found["statuses"] = counts
    return found


def steady():
    """A backlog for MINUTES under requests, input and output limits, with sizes that no estimate can know."""
    seconds = MINUTES * 60
    with Stage(LIMITS, behavior=ERROR) as stage:
        stage.submit(int(2500 * MINUTES + 2500))
        stage.wait_calls(20)
        begin = mono_ms()
        hold(WARM_S + seconds)
        ours = _verdict(stage.seen(**{"from": begin + WARM_S * 1000, "to": begin + (WARM_S + seconds) * 1000, "oracle": 1}))
        ours["trades_per_call"] = stage.metric("sluice_ratelimit_trades_total") / max(1, ours["accepted"])
    return {"ours": ours, "naive": _naive(LIMITS, WARM_S + min(seconds, 120), ERROR), "seconds": seconds}


# --- limits that change, limits that nobody knows ------------------------------------------------------------------

def _back_s(series, step_s):
    """Seconds after the change from which a whole minute uses 95 % of what is allowed, or None. The last step is cut short."""
    shares = [step.get("share") or 0 for step in series[:-1]]
    minute = 60 // step_s
    for n in range(len(shares) - minute + 1):
        if sum(shares[n:n + minute]) / minute >= 0.95:
            return n * step_s
    return None


def change():
    """Halved in mid-run without notice, then doubled."""
    limits = {"requests_per_minute": 2400, "algorithm": "sliding"}
    with Stage(limits) as stage:
        stage.submit(14_000)
        stage.wait_calls(20)
        hold(70)
        halved = mono_ms()
        stage.sim.scale_limits(0.5)
        hold(130)
        doubled = mono_ms()
        stage.sim.scale_limits(2.0)
        hold(130)
        end = mono_ms()
        down = stage.seen(**{"from": halved, "to": doubled, "step_s": 10})
        up = stage.seen(**{"from": doubled, "to": end, "step_s": 10})
    rate = limits["requests_per_minute"] / 60
    return {"refused": down["interval"]["refused"], "refused_after_change": up["refused_after_change"],
            "allowed_429s": WORKERS + rate * (0.35 + 0.05), "down_back_s": _back_s(down["series"], 10),
            "up_back_s": _back_s(up["series"], 10), "violations": up["violations"],
            "down_series": [s.get("share") for s in down["series"]], "up_series": [s.get("share") for s in up["series"]]}


def _unknown(headers, limit_s):
    limits = {"requests_per_minute": 1800, "input_tokens_per_minute": 400_000, "algorithm": "sliding", "headers": headers}
    with Stage(limits, budget={}) as stage:
        stage.submit(int(1800 * limit_s / 60 + 3600))
        stage.wait_calls(1)
        begin = mono_ms()
        hold(limit_s + 30)
        pair = stage.seen(**{"from": begin, "to": begin + (limit_s + 30) * 1000, "step_s": 10})
    shares = [step.get("share") or 0 for step in pair["series"]]
    reached = next((n * 10 for n, share in enumerate(shares) if share >= 0.9), None)
    late = [share for n, share in enumerate(shares) if n * 10 >= limit_s - 60]
    return {"reached_90_s": reached, "last_minute": sum(late) / max(1, len(late)), "refused": pair["refused"],
            "refused_total": pair["refused_total"], "over": pair["over"], "series": shares}


def unknown():
    """Nothing is configured, the provider's headers tell."""
    found = _unknown("true", 180)
    limits = {"requests_per_minute": 1800, "input_tokens_per_minute": 400_000, "algorithm": "sliding"}
    return {**found, "naive": _naive(limits, 120, {})}


def unknown_silent():
    """Nothing is configured and no header tells."""
    return _unknown("off", 600)


# --- fairness -------------------------------------------------------------------------------------------------------

BURST_JOBS = int(os.environ.get("BURST_JOBS", "100000"))
QUIET = [f"quiet-{n:02}" for n in range(20)]


def _p99(values):
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))] if values else None


def _quiet_round(stage, seconds, per_s, seed):
    """All quiet tenants submit at a pace of their own; their waits in ms from submission to the call's arrival."""
    clients = [Client(Api(stage.stack.url, stage.stack.keys[name]), per_s, seconds, 100, random.Random(seed + n))
               for n, name in enumerate(QUIET)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    hold(10)  # the last of them are on their way
    found = arrivals(stage)
    waits = [found[job][0] - at for client in clients for job, at in client.sent.items() if job in found]
    lost = sum(len(client.sent) for client in clients) - len(waits)
    return {"p50_ms": sorted(waits)[len(waits) // 2] if waits else None, "p99_ms": _p99(waits), "jobs": len(waits), "unseen": lost,
            "errors": sum(client.errors for client in clients)}


def _jain(values):
    return sum(values) ** 2 / (len(values) * sum(v * v for v in values)) if values and any(values) else 0.0


def _shares(stage, ids, from_ms, to_ms):
    """Tokens a tenant in the interval; ids: {tenant: set of its jobs}, the rest is the burst's."""
    owner = {job: tenant for tenant, known in ids.items() for job in known}
    tokens = dict.fromkeys(ids, 0)
    tokens["burst"] = 0
    for job, (at, size, _key) in arrivals(stage).items():
        if from_ms <= at < to_ms:
            tokens[owner.get(job, "burst")] += size
    return tokens


def burst():
    """One tenant's burst beside twenty quiet ones: their waits, alone and beside it; then all with a backlog: the shares."""
    limits = {"requests_per_minute": 3000, "algorithm": "sliding"}
    tenants = [{"id": name, "max_queued": 5000} for name in QUIET]
    with Stage(limits, tenants=tenants, behavior={"output_tokens": 20}) as stage:
        alone = _quiet_round(stage, 60, 1.0, SEED)
        submitter = threading.Thread(target=stage.submit, args=(BURST_JOBS, 100), daemon=True)
        submitter.start()
        submitter.join(240)
        if submitter.is_alive():
            raise BenchError("the burst was not taken within 240 s")
        beside = _quiet_round(stage, 60, 1.0, SEED + 1000)
        ids = {}
        for name in QUIET:
            api = Api(stage.stack.url, stage.stack.keys[name])
            ids[name] = {api.submit("pace", {"text": prompt(100)}).json()["id"] for _ in range(150)}
        begin = mono_ms()
        hold(45)
        tokens = _shares(stage, ids, begin, begin + 45_000)
    return {"alone": alone, "beside": beside, "jain": _jain(list(tokens.values())), "tokens": tokens, "burst_jobs": BURST_JOBS}


# --- bad weather ----------------------------------------------------------------------------------------------------

def _probe_gaps(stage, from_ms, to_ms, model):
    """Arrivals of calls at a route that was down."""
    return sorted(call["t_ms"] for call in stage.sim.journal()
                  if from_ms <= call["t_ms"] < to_ms and call.get("model") == model)


def outage():
    """Both routes down for 30 s, then a slow start; later a storm of 429s."""
    limits = {"requests_per_minute": 1200, "algorithm": "sliding"}
    with Stage(limits, routes=2) as stage:
        stage.submit(9_000)
        stage.wait_calls(50)
        hold(20)
        down = mono_ms()
        stage.sim.outage(mode="503", for_s=30, slow_start={"for_s": 10, "from": 0.1})
        hold(30)
        up = mono_ms()
        hold(60)
        storm = mono_ms()
        stage.sim.storm(for_s=10, share=1.0, retry_after=2)
        hold(60)
        end = mono_ms()
        after = stage.seen(**{"from": up, "to": storm, "step_s": 5})
        later = stage.seen(**{"from": storm, "to": end, "step_s": 5})
        probes = {model: _probe_gaps(stage, down + 6000, up, model) for model in (MODEL, SECOND)}
        letters = stage.metric("sluice_dead_letters_total")
        retries = [call for call in stage.sim.journal() if not (call.get("identity") or "/1").endswith("/1")]
    full = next((n * 5 for n, step in enumerate(after["series"]) if (step.get("share") or 0) >= 0.9), None)
    refused = sum(sum(step["refused"].values()) for step in after["series"][2:])
    accepted = sum(step["accepted"] for step in after["series"][2:])
    gaps = {model: min((b - a for a, b in zip(at, at[1:])), default=None) for model, at in probes.items()}
    return {"probes": {model: len(at) for model, at in probes.items()}, "least_gap_ms": gaps, "full_speed_s": full,
            "rejected_share": refused / max(1, refused + accepted), "dead_letters": letters, "attempts_above_1": len(retries),
            "storm_refused": later["interval"]["refused"], "series": [s.get("share") for s in after["series"]],
            "storm_series": [s.get("share") for s in later["series"]]}


def churn():
    """Workers join, leave, are killed, and stand still for 10 s."""
    with Stage(LIMITS, behavior=ERROR) as stage:
        stack = stage.stack
        stage.submit(12_000)
        stage.wait_calls(20)
        hold(30)
        begin = mono_ms()
        for _ in range(3):
            stack.start_part("consumer-5", wait=False)
            hold(10)
            stack.pause("consumer-2")
            hold(10)
            stack.resume("consumer-2")
            stack.kill("consumer-3")
            hold(8)
            stack.start_part("consumer-3", wait=False)
            hold(10)
            stack.stop_part("consumer-5")
        end = mono_ms()
        return _verdict(stage.seen(**{"from": begin, "to": end, "oracle": 1}))


def cost():
    """Round trips at 200 calls/s over four workers."""
    limits = {"requests_per_minute": 12_000, "algorithm": "sliding"}
    with Stage(limits, behavior={"output_tokens": 20, "ttft_ms": 100}) as stage:
        stage.submit(16_000)
        stage.wait_calls(500)
        hold(10)
        trades, calls, begin = stage.metric("sluice_ratelimit_trades_total"), stage.seen()["accepted"], time.monotonic()
        hold(40)
        seconds = time.monotonic() - begin
        trades, calls = stage.metric("sluice_ratelimit_trades_total") - trades, stage.seen()["accepted"] - calls
    return {"calls_per_s": calls / seconds, "trades_per_call": trades / max(1, calls), "calls": calls}
