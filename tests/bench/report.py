"""The figures as a table: what was measured, its limit in the same run, the target, and whether it is met."""


def _cpu(values, names):
    return " + ".join(f"{name} {values[name]:.1f}" for name in names) + f" = {values['sum']:.1f}"


def _ms(us):
    return f"{us / 1000:.2f}"


def _line(what, value, limit, target, ok):
    return {"what": what, "value": value, "limit": limit, "target": target,
            "verdict": "-" if ok is None else "met" if ok else "MISSED"}


QUIET_XADD_US = 1.75  # of the reference machine when nothing else runs (572 k/s, AOF everysec, 16 in a pipeline)


def _calibration(found):
    yield _line("calibration: XADD of 200 B, AOF, CPU us", f"{found['xadd_us']:.2f}",
                f"quiet reference {QUIET_XADD_US}: figures here are {found['xadd_us'] / QUIET_XADD_US:.1f}x dear", "-", None)


def _ingest(found):
    for connections, goal in (("64", 60), ("512", 45)):
        row = found[connections]
        ours, floor = row["ours"], row["kafka_alone"]
        http = found["http_floor"].get(f"later-{connections}", {}).get("cpu_us", 0)
        yield _line(f"ingest {connections} connections, CPU us a job", _cpu(ours, ("gateway", "redis", "broker")),
                    f"Kafka alone: client {floor['client']:.1f} + broker {floor['broker']:.1f}; no-op route {http:.1f}",
                    f"<= {goal}", ours["sum"] <= goal)
        yield _line(f"ingest {connections}: the gateway alone", f"{ours['gateway']:.1f} us",
                    f"client {floor['client']:.1f} + route {http:.1f}", "<= 25", ours["gateway"] <= 25)
        yield _line(f"ingest {connections}: jobs/s; p50 / p99 ms",
                    f"{ours['per_s']:.0f}; {_ms(ours['p50_us'])} / {_ms(ours['p99_us'])}",
                    f"{floor['per_s']:.0f}; {_ms(floor['p50_us'])} / {_ms(floor['p99_us'])}", "-", None)


def _noop(found):
    ours, floor = found["ours"], found["kafka_alone"]
    yield _line("no-op jobs, one consumer, CPU us a job", _cpu(ours, ("consumer", "redis", "broker")),
                f"Kafka alone: client {floor['client']:.1f} + broker {floor['broker']:.1f} = {floor['sum']:.1f}",
                "<= 80", ours["sum"] <= 80)
    yield _line("no-op jobs/s", f"{ours['per_s']:.0f}", f"{floor['per_s']:.0f}", "-", None)


def _idle(found):
    ours, floor = found["ours"], found["kafka_alone"]
    good = ours["p50_us"] <= 8000 and ours["p99_us"] <= 30000
    yield _line("idle: submit to job.started, p50 / p99 ms", f"{_ms(ours['p50_us'])} / {_ms(ours['p99_us'])}",
                f"Kafka's ack + consume: {_ms(floor['p50_us'])} / {_ms(floor['p99_us'])}", "<= 8 / 30", good)
    yield _line("idle: submit to the end, p50 / p99 ms", f"{_ms(ours['end_p50_us'])} / {_ms(ours['end_p99_us'])}", "-",
                "-", None)


def _fanout(name):
    def lines(found):
        ours, raw = found["ours"], found["raw"]
        limit_p99 = raw["p99_us"] * 1.5 + 15000
        for who, value in (("gateway", ours["gateway"]), ("gateway + redis", ours["gateway"] + ours["redis"])):
            yield _line(f"fan-out {name}: CPU us a delivery, {who}", f"{value:.1f} ({value / raw['cpu']:.2f}x)",
                        f"raw sends {raw['cpu']:.1f}", "<= 1.5x", value <= 1.5 * raw["cpu"])
        yield _line(f"fan-out {name}: p50 / p99 ms", f"{_ms(ours['p50_us'])} / {_ms(ours['p99_us'])}",
                    f"raw sends {_ms(raw['p50_us'])} / {_ms(raw['p99_us'])}", f"p99 <= {_ms(limit_p99)}",
                    ours["p99_us"] <= limit_p99)
    return lines


def _watchers(found):
    for streams, row in found["streams"].items():
        yield _line(f"idle watcher, 10,000 over {streams} streams, gateway RSS KB", f"{row['kb_per_watcher']:.1f}",
                    "plain HTTP; TLS not measured: the gateway has none", "<= 12", row["kb_per_watcher"] <= 12)


def _calls(found):
    yield _line(f"streaming call in a consumer ({found['calls']} at once), RSS KB", f"{found['kb_per_call']:.1f}",
                f"plain HTTP, as the simulated provider speaks; our HTTP client alone {found['client']['plain_kb']:.1f}", "<= 40",
                found["kb_per_call"] <= 40)
    extra = found["client"]["tls_kb"] - found["client"]["plain_kb"]
    yield _line("streaming call over TLS (HTTP/1.1), RSS KB", f"{found['kb_per_call'] + extra:.1f}",
                f"the call above + what TLS adds to the client alone, {extra:.1f}", "-", None)


def _resume(found):
    ours = found["ours"]
    growth = ours["rss_growth_kb"] / 1024
    yield _line("resume of a 50 MB history, MB/s", f"{ours['mb_per_s']:.0f}",
                f"raw XRANGE pages {found['xrange']['mb_per_s']:.0f}", ">= 150", ours["mb_per_s"] >= 150)
    yield _line("resume: growth of the gateway, MB (first / median)",
                f"{found['rss_growth_first_kb'] / 1024:.1f} / {growth:.1f}", "-", "constant (<= 8)",
                found["rss_growth_first_kb"] <= 8192)


LINES = {"calibration": _calibration, "ingest": _ingest, "noop": _noop, "idle": _idle, "fanout_many": _fanout("over 5,000 streams"),
         "fanout_one": _fanout("over one stream"), "watchers": _watchers, "calls": _calls, "resume": _resume}


def lines(figures):
    """The lines of the table, in the order of the rows; a row that failed is one line."""
    table = []
    for row, found in figures.items():
        if "error" in found:
            table.append({"what": row, "value": f"not measured: {found['error']}", "limit": "-", "target": "-",
                          "verdict": "MISSED"})
        else:
            table.extend(LINES[row](found))
    return table


def text(table):
    heads = {"what": "what", "value": "measured", "limit": "limit in the same run", "target": "target", "verdict": ""}
    widths = {key: max(len(str(line[key])) for line in [heads, *table]) for key in heads}
    rows = [" | ".join(str(line[key]).ljust(widths[key]) for key in heads).rstrip() for line in [heads, *table]]
    return "\n".join([rows[0], "-|-".join("-" * widths[key] for key in heads), *rows[1:]])
