"""The figures of pacing as a table: what was measured, what the oracle or a plain client gets, the target, the verdict."""


def _line(what, value, beside, target, ok):
    return {"what": what, "value": value, "limit": beside, "target": target,
            "verdict": "-" if ok is None else "met" if ok else "MISSED"}


def _share(value):
    return "-" if value is None else f"{value * 100:.1f} %"


def _refusals(found):
    return sum(found["refused"].values()) if isinstance(found["refused"], dict) else found["refused"]


def _plain(found):
    if not found:
        return "-"
    return f"reject and retry: {_share(found['share'])} used, {_refusals(found)} 429s"


def _steady(row):
    ours = row["ours"]
    yield _line(f"steady backlog, {row['seconds'] / 60:.0f} min: use of the binding limit ({ours['binding']})", _share(ours["share"]),
                f"of the oracle {_share(ours['of_oracle'])}; {_plain(row['naive'])}", ">= 97 %", (ours["share"] or 0) >= 0.97)
    worst = max(ours["windows"].values(), default=0)
    yield _line("steady backlog: violations / 429s / fullest sliding minute",
                f"{ours['violations'] + ours['over']} / {_refusals(ours)} / {worst * 100:.1f} %", "-", "0 / 0",
                ours["violations"] + ours["over"] == 0 and _refusals(ours) == 0 and worst <= 1)


def _change(row):
    told = sum(row["refused"].values())
    yield _line("limit halved without notice: 429s", f"{told}", "-", f"<= {row['allowed_429s']:.0f}", told <= row["allowed_429s"])
    for name, key in (("halved", "down_back_s"), ("doubled", "up_back_s")):
        back = row[key]
        yield _line(f"limit {name}: seconds until a minute of 95 % of the new limit begins", "never" if back is None else f"{back:.0f}", "-", "<= 60",
                    back is not None and back <= 60)


def _unknown(name, limit_s):
    def lines(row):
        reached = row["reached_90_s"]
        yield _line(f"unknown limits, {name}: seconds until 90 %, then", f"{reached}; {_share(row['last_minute'])}",
                    _plain(row.get("naive")), f"<= {limit_s}", reached is not None and reached <= limit_s)
        yield _line(f"unknown limits, {name}: 429s", f"{row['refused_total']}", "-", "<= 5", row["refused_total"] <= 5)
    return lines


def _burst(row):
    alone, beside = row["alone"]["p99_ms"], row["beside"]["p99_ms"]
    ratio = beside / alone if alone and beside else None
    yield _line(f"{row['burst_jobs']} jobs of one tenant, 20 with a backlog: Jain index of tokens", f"{row['jain']:.3f}", "1", ">= 0.98",
                row["jain"] >= 0.98)
    yield _line("a quiet tenant's wait beside the burst, p99 ms", "-" if beside is None else f"{beside:.0f}",
                f"alone {alone:.0f}" if alone else "-", "<= 1.5x", ratio is not None and ratio <= 1.5)


def _outage(row):
    gaps = [gap for gap in row["least_gap_ms"].values() if gap is not None]
    yield _line("both routes down 30 s: probes; least gap s", f"{row['probes']}; {min(gaps) / 1000:.1f}" if gaps else f"{row['probes']}", "-",
                ">= 5 s apart", all(gap >= 4900 for gap in gaps))
    yield _line("after the outage: seconds to 90 % speed; rejected", f"{row['full_speed_s']}; {_share(row['rejected_share'])}",
                "slow start of 10 s", "<= 20; <= 1 %",
                row["full_speed_s"] is not None and row["full_speed_s"] <= 20 and row["rejected_share"] <= 0.01)
    yield _line("outage and storm: dead letters / attempts burnt", f"{row['dead_letters']:.0f} / {row['attempts_above_1']}", "-", "0 / 0",
                row["dead_letters"] == 0 and row["attempts_above_1"] == 0)


def _churn(row):
    worst = max(row["windows"].values(), default=0)
    yield _line("workers join, leave, are killed, stand still: fullest minute / violations / use",
                f"{worst * 100:.1f} % / {row['violations'] + row['over']} / {_share(row['share'])}", "-", "<= 100 % / 0",
                worst <= 1 and row["violations"] + row["over"] == 0)


def _cost(row):
    yield _line(f"round trips a call at {row['calls_per_s']:.0f} calls/s, four workers", f"{row['trades_per_call']:.2f}", "-", "<= 0.20",
                row["trades_per_call"] <= 0.2)


ROWS = {"steady": _steady, "change": _change, "unknown": _unknown("headers tell", 180),
        "unknown_silent": _unknown("no headers", 600), "burst": _burst, "outage": _outage, "churn": _churn, "cost": _cost}


def lines(figures):
    table = []
    for name, make in ROWS.items():
        row = figures.get(name)
        if row is None:
            continue
        if "error" in row:
            table.append(_line(name, row["error"], "-", "-", False))
        else:
            table += list(make(row))
    return table


def text(table):
    head = {"what": "what", "value": "measured", "limit": "beside it", "target": "target", "verdict": ""}
    widths = {key: max(len(str(line[key])) for line in [head, *table]) for key in head}
    return "\n".join("  ".join(str(line[key]).ljust(widths[key]) for key in head).rstrip() for line in [head, *table])
