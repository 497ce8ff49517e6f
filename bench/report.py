"""The report: figures into sentences and tables. No figure is written by hand."""

import limits
from limits import average, look
from parts import (
    CONFIG_FLAG, CONFIG_INTERVAL, OFFICIAL_FLAGS, OFFICIAL_QUESTION, OUR_FLAGS, OUR_QUESTIONS, OUR_WITH,
    SCRAPE_INTERVAL, SETTLE, SETTLE_LIMIT, SINGLES, WARM_UP,
)

NONE = "-"
NAMES = {"official": "official", "ours": "ours", "ours_config": "ours, with configuration"}


def ms(seconds):
    if seconds is None:
        return NONE
    value = seconds * 1000
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def mib(value):
    return NONE if value is None else f"{value:,.1f}"


def count(value):
    return NONE if value is None else f"{value:,.0f}"


def ratio(value):
    return NONE if value is None else f"{value:.2f}" if value < 10 else f"{value:,.1f}"


def table(heads, rows):
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" + " ---: |" * (len(heads) - 1)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def asked(counts):
    return ", ".join(f"{number} x `{path}`" for path, number in counts.items()) or NONE


def write(results):
    parts = [
        head(results), how(results), sizes(results), questions(results), bursts(results), base(results),
        scaling(results), slow(results), idle(results), verdicts(results), problems(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def head(results):
    machine, versions = results["machine"], results["versions"]
    rows = [
        ("date", results["date"]),
        ("processor", f"{machine['cpu']}, {machine['cores']} cores"),
        ("memory", f"{machine['memory_gib']} GiB"),
        ("system", machine["system"]),
        ("nats-server", versions["nats_server"]),
        ("official exporter", versions["official"] or "not measured"),
        ("nats-exporter", versions["ours"] + (f", commit {versions['commit']}" if versions["commit"] else "")),
    ]
    text = ["# Performance"]
    if not versions["official"]:
        text.append(f"**{not_judged(results['limits'])}**")
    text.append(
        "Written by `bench/compare`; do not edit. It compares this exporter with the NATS project's own, "
        "prometheus-nats-exporter (called *official* below), on the same servers and in the same minutes."
    )
    if results["options"]["quick"]:
        text.append("**This was a quick run:** fewer data sets and fewer rounds. Its figures only show that all works.")
    text += ["## Machine and versions", table(["", ""], rows).replace(" ---: |", " --- |")]
    return "\n\n".join(text)


def not_judged(rows):
    """Also for whoever reads only the first sentence."""
    names = limits.not_judged_without_official(rows)
    names = ", ".join(names[:-1]) + " and " + names[-1]
    return (
        f"The NATS project's own exporter was not measured in this run, so the limits in terms of it could not be judged: "
        f"{names}; to judge them, run `bench/compare` where `go install` can fetch it."
    )


def how(results):
    share = CONFIG_INTERVAL // SCRAPE_INTERVAL
    flags = " ".join(OUR_FLAGS)
    lines = [
        "## What was measured, and how",
        "Everything runs on the loopback interface of one machine. Each data set has a nats-server of its own, "
        "standalone, with JetStream on files. Data set S has 10 streams with 5 consumers each, M 500 with 10, L 5,000 "
        "with 10.",
        f"- The official exporter runs with `{' '.join(OFFICIAL_FLAGS)}`, ours with `{flags}`.\n"
        f"- Ours asks for the configuration of streams and consumers only now and then. It was measured without it "
        f"(the default, after the first scrape) and with it in every scrape (`{' '.join(OUR_WITH)}`). *Average* is for "
        f"a scrape every {SCRAPE_INTERVAL} s and the configuration every {CONFIG_INTERVAL} s: one scrape in {share} asks "
        "for it.\n"
        "- In each round every exporter is scraped once, one after the other, in another order each time. A "
        "scrape has the headers of Prometheus 3, gzip included. The first scrape of a process is not counted.\n"
        "- Figures are medians of the rounds. A ratio is taken in each round, official / ours, and its median is "
        "shown: more than 1 means that ours needs less. Memory is the highest of all rounds.\n"
        "- Latency runs from sending the request, on an open connection, to the last byte.\n"
        "- CPU is read from the clocks that the system keeps for the exporter and for nats-server, from before the "
        f"scrape until both are quiet again, at least {SETTLE:g} s after it and at most {SETTLE_LIMIT:g} s: what is done "
        "after the answer, such as collecting garbage, counts too.\n"
        "- Peak memory is the high-water mark of resident memory, reset before each scrape.\n"
        "- The server's own answer is a plain GET of the same question, in the same rounds.\n"
        "- Bytes per consumer are those of the lines that carry a consumer's label, divided by the number of consumers; "
        "gzip is level 6 of these lines alone.",
    ]
    if not results["config_interval"]:
        lines.append(
            f"This build of the exporter does not know `{CONFIG_FLAG}`. Every scrape of it asks as it always does, and "
            "nothing could be told apart."
        )
    return "\n\n".join(lines)


def sizes(results):
    found = results.get("sizes")
    if not found:
        return ""
    text = ["## One scrape"]
    for name, size in found.items():
        text.append(
            f"### {name}: {count(size['streams'])} streams, {count(size['consumers'])} consumers, "
            f"{len(next(iter(size['rounds'].values())))} rounds"
        )
        text.append(table(
            ["", "latency ms", "CPU ms", "nats-server CPU ms", "peak MiB", "series", "body bytes", "on the wire",
             "bytes per consumer", "gzip", "not whole"],
            [size_row(size, who) for who in size["summary"]] + average_row(size),
        ))
        compared = look(size, "ratios") or {}
        if compared:
            keys = ("latency", "cpu", "server_cpu", "peak_mib")
            rows = [[NAMES[who], *(ratio(pairs[key]) for key in keys)] for who, pairs in compared.items()]
            rows += [
                ["ours, average", NONE, *(ratio(limits.average_ratio(size, key)) for key in ("cpu", "server_cpu")), NONE]
            ] if limits.split(size) else []
            text.append(table(["official / ours", "latency", "CPU", "nats-server CPU", "peak memory"], rows))
        who = list(size["to_answer"])
        rows = []
        for path, answer in size["answer_summary"].items():
            whose = "official" if path == OFFICIAL_QUESTION else "ours" if path in OUR_QUESTIONS else ""
            rows.append([
                f"`{path}`", whose, ms(answer["latency"]), ms(answer["server_cpu"]), count(answer["bytes"]),
                *(ratio(size["to_answer"][name][path]) for name in who),
            ])
        text.append(table(
            ["the server's own answer", "asked by", "ms", "nats-server CPU ms", "bytes",
             *(f"latency of {NAMES[name]} / this" for name in who)],
            rows,
        ))
    return "\n\n".join(text)


def size_row(size, who):
    figures, form = size["summary"][who], size["shape"][who]
    return [
        NAMES[who], ms(figures["latency"]), ms(figures["cpu"]), ms(figures["server_cpu"]), mib(figures["peak_mib"]),
        count(form["series"]), count(form["body_bytes"]), count(form["wire_bytes"]), count(form["consumer_bytes"]),
        count(form["consumer_gzip_bytes"]), figures["failed"],
    ]


def average_row(size):
    if not limits.split(size):
        return []
    return [["ours, average", ms(average(size, "latency")), ms(average(size, "cpu")), ms(average(size, "server_cpu")),
             *[NONE] * 7]]


def questions(results):
    found = results.get("sizes")
    if not found:
        return ""
    name, size = next(reversed(found.items()))
    rows = [
        [NAMES[who], asked(scrapes[0]), asked(scrapes[1]), asked(size["summary"][who]["asked"])]
        for who, scrapes in size["questions"].items()
    ]
    return "\n\n".join([
        "## What the server is asked",
        f"Requests of one scrape, on {name}. The first two columns were counted with their queries in a run of their own; "
        "the last is the server's own count by path.",
        table(["", "first scrape", "second scrape", "a measured scrape, by path"], rows).replace(" ---: |", " --- |"),
    ])


def bursts(results):
    found = results.get("bursts")
    if not found:
        return ""
    rows = []
    for size, exporters in found.items():
        for who, one in exporters.items():
            jsz = [burst["asked"].get("/jsz", 0) for burst in one["bursts"]]
            rows.append([
                f"{one['count']} on {size}, {NAMES[who]}", f"{one['whole']} of {one['count']}", ms(one["single"]),
                ms(one["median"]), ms(one["worst"]), ratio(one["median"] / one["single"]),
                ratio(one["worst"] / one["single"]), mib(one["single_peak_mib"]), mib(one["peak_mib"]),
                ratio(one["peak_mib"] / one["single_peak_mib"]), " / ".join(map(str, jsz)),
                count(one.get("detail_requests")),
            ])
    return "\n\n".join([
        "## Many scrapes at once",
        "The connections are open before the first request is sent. Each line has the worst of its bursts; an answer is "
        "whole when it is complete and not much smaller than that of a single scrape. The single scrapes are those of the "
        f"same process right before its bursts, {SINGLES} after {WARM_UP} more to warm up; their peak is the highest of "
        "them, as that of the bursts is. The requests for `/jsz` are those of "
        "each burst, as the server counts them; those with consumers were counted in bursts of their own.",
        table(
            ["", "whole", "single ms", "median ms", "worst ms", "median / single", "worst / single", "single peak MiB",
             "peak MiB", "peak / single", "`/jsz` requests", "of them with consumers"],
            rows,
        ),
    ])


def base(results):
    found = results.get("base")
    if not found:
        return ""
    names = {"synthetic": "synthetic server", "real": "nats-server"}
    rows = [row for kind in names if kind in found for row in base_rows(found[kind], names[kind])]
    text = [
        "## The base tier, and another target, beside large scrapes",
        "Requests on one connection, 10 ms apart: first alone, then while large scrapes of the same exporter follow each "
        "other without a pause. The other target is a small nats-server in both cases.",
    ]
    if remote := found.get("synthetic"):
        text.append(
            f"The limits are judged from the synthetic server. It waits {remote['delay_ms']} ms before each large answer: "
            "this stands for the work of a server on another machine, which is where a large one is. While it waits, the "
            "exporter is not busy, so fewer requests meet a busy one than without the wait. It still writes its answers "
            f"on these processors, from which its own `/varz` {grown(remote['server'])}; nothing is subtracted for that."
        )
    if real := found.get("real"):
        text.append(
            f"The real nats-server with {real['size']} is shown for completeness and not judged. It shares the "
            f"{results['machine']['cores']} processors with exporter and clients, and its own `/varz`, asked without an "
            f"exporter, {grown(real['server'])} while it makes large answers. So the lines of the exporter hold the "
            "server's share too."
        )
    text.append(table(
        ["", "alone: requests", "p50 ms", "p99 ms", "max ms", "beside: requests", "p50 ms", "p99 ms", "max ms",
         "p99 more ms", "large scrapes meanwhile"],
        rows,
    ))
    return "\n\n".join(text)


def grown(control):
    return f"goes from a p99 of {ms(control['idle']['p99'])} ms to {ms(control['beside']['p99'])} ms"


def base_rows(found, server):
    large = f"{server} {found['size']}"
    names = {
        "base": f"{large}: `/metrics?tier=base`",
        "other_target": f"{large}: `/probe` of another target, nats-server {found['small']}",
        "server": f"{large}: its own `/varz`, without an exporter (control)",
    }
    rows = []
    for key, name in names.items():
        before, beside = found[key]["idle"], found[key]["beside"]
        rows.append([
            name, *(shown for one in (before, beside) for shown in (
                one["count"], ms(one["median"]), ms(one["p99"]), ms(one["max"]))),
            ms(beside["p99"] - before["p99"]) if beside["p99"] >= before["p99"] else "0",
            found[key]["background_scrapes"],
        ])
    return rows


def scaling(results):
    found = results.get("scaling")
    if not found:
        return ""
    rows = []
    shapes = dict(found["single"])
    if found.get("cluster"):
        cluster = found["cluster"]
        shapes[
            f"{cluster['size']} in a cluster of {cluster['servers']}, R{cluster['replicas']}, {cluster['accounts']} "
            f"accounts, {cluster['mirrors']} mirrors"
        ] = cluster
    for name, one in shapes.items():
        for group in ("ours", "ours_config"):
            if group in one:
                figures = one[group]
                each = figures["cpu_per_consumer"]
                rows.append([
                    f"{name}, {NAMES[group]}", count(one["consumers"]), ms(figures["latency"]), ms(figures["cpu"]),
                    NONE if each is None else f"{each * 1e6:.2f}", mib(figures["peak_mib"]),
                    count(figures["shape"]["series"]), count(figures["shape"]["wire_bytes"]), figures["failed"],
                ])
    return "\n\n".join([
        "## Growth",
        "Generated answers instead of real servers; ours only. In the cluster one exporter asks all servers. Its time "
        "limits and the largest body were raised, so that nothing is cut off.",
        table(
            ["", "consumers", "latency ms", "CPU ms", "CPU µs per consumer", "peak MiB", "series", "on the wire",
             "not whole"],
            rows,
        ),
    ])


def slow(results):
    found = results.get("slow")
    if not found:
        return ""
    names = {
        "undisturbed": "nobody else", "slow": f"a client that takes {found['bytes_per_second'] // 1000} kB/s",
        "not_reading": "a client that does not read",
    }
    alone = found["undisturbed"]
    rows = [
        [name, ms(found[key]["latency"]), ratio(quotient(found[key]["latency"], alone["latency"])),
         mib(found[key]["peak_mib"]), ratio(quotient(found[key]["peak_mib"], alone["peak_mib"])), found[key]["failed"]]
        for key, name in names.items()
    ]
    return "\n\n".join([
        "## Slow readers",
        f"Normal scrapes of {found['size']}, while another client has asked for the same and takes its answer slowly or "
        "not at all.",
        table(["beside", "latency ms", "/ undisturbed", "peak MiB", "/ undisturbed", "not whole"], rows),
    ])


def quotient(upper, lower):
    return upper / lower if upper and lower else None


def idle(results):
    found = results.get("idle")
    if not found:
        return ""
    rows = [[NAMES[who], mib(one["worst"])] for who, one in found.items()]
    return "\n\n".join([
        "## Idle",
        "Resident memory 5 s after the start, before the first scrape; the highest of some starts.",
        table(["", "MiB"], rows),
    ])


def verdicts(results):
    words = {True: "met", False: "**not met**", None: NONE}
    rows = [[row["what"], row["limit"] or "no limit", row["found"], words[row["met"]]] for row in results["limits"]]
    return "\n\n".join([
        "## What must hold",
        table(["", "limit", "found", ""], rows),
    ])


def problems(results):
    found = results["problems"] + results["notes"]
    if not found:
        return ""
    return "\n\n".join(["## Problems of this run", "\n".join(f"- {one}" for one in found)])
