"""What must hold. Each limit is judged from the figures; what was not measured is neither met nor not met."""

from parts import CONFIG_INTERVAL, OFFICIAL_QUESTION, OUR_QUESTIONS, SCRAPE_INTERVAL, SIZES

# At most this share of what the official exporter needs.
CPU = {"L": 30, "M": 20, "S": 5}
PEAK = {"L": 20, "M": 8}
SERVER_CPU = {"L": 2, "M": 2}
ANSWER_TIME = 1.3
BYTES_SHARE = 0.40
IDLE_MIB = 8.0
BURST = {"M": {"count": 50, "worst": 2.0, "peak": 1.5, "questions": 1}, "L": {"count": 100, "worst": 3.0}}
BASE_MS = 5.0
GROWTH = 1.3


def look(value, *path):
    for key in path:
        if not isinstance(value, dict) or value.get(key) is None:
            return None
        value = value[key]
    return value


def with_share(without, with_it):
    """The mean of the scrapes of one interval, of which one asks for the configuration."""
    share = SCRAPE_INTERVAL / CONFIG_INTERVAL
    return without * (1 - share) + with_it * share


def average(size, key):
    without, with_it = (look(size, "summary", name, key) for name in ("ours", "ours_config"))
    return None if without is None or with_it is None else with_share(without, with_it)


def average_ratio(size, key):
    """From the ratios of the two groups, each of pairs of one round."""
    without, with_it = (look(size, "ratios", name, key) for name in ("ours", "ours_config"))
    return None if not without or not with_it else 1 / with_share(1 / without, 1 / with_it)


def split(size):
    """Whether scrapes without and with the configuration could be told apart."""
    return look(size, "summary", "ours_config") is not None


def worst_peak_ratio(size):
    found = [look(size, "ratios", name, "peak_mib") for name in ("ours", "ours_config")]
    found = [one for one in found if one]
    return min(found) if found else None


class Limits:
    def __init__(self):
        self.rows = []

    def add(self, what, limit, value, shown, met, official=None):
        """`official` is the name of what is compared with the official exporter, and the data set."""
        self.rows.append({
            "what": what,
            "limit": limit,
            "value": value,
            "found": "not measured" if value is None else shown(value),
            "met": None if value is None or limit is None else bool(met(value)),
            "official": official,
        })

    def part(self, what, divisor, ratio, official):
        """At most a part of the official's; `ratio` is official / ours."""
        self.add(
            what, f"<= 1/{divisor} of the official", ratio, lambda r: f"1/{r:.1f}", lambda r: r >= divisor, official
        )

    def at_most(self, what, bound, limit, value, form, official=None):
        self.add(what, limit, value, lambda v: form.format(v), lambda v: v <= bound, official)

    def figure(self, what, value, form):
        """What is worth knowing beside a limit, and has none."""
        self.add(what, None, value, lambda v: form.format(v), None)


def not_judged_without_official(rows):
    """What needs the official exporter and was not judged, each with its data sets: "CPU a scrape (S, M, L)"."""
    found = {}
    for row in rows:
        if row["official"] and row["met"] is None:
            name, size = row["official"]
            found.setdefault(name, set()).add(size)
    return [f"{name} ({', '.join(size for size in SIZES if size in sizes)})" for name, sizes in found.items()]


def judge(results):
    limits = Limits()
    sizes = results.get("sizes", {})
    for name in ("L", "M", "S"):
        size = sizes.get(name, {})
        cpu = ("CPU a scrape", name)
        limits.part(f"{name}: CPU a scrape, without configuration", CPU[name],
                    look(size, "ratios", "ours", "cpu") if split(size) else None, cpu)
        limits.part(f"{name}: CPU a scrape, average of the interval", CPU[name], average_ratio(size, "cpu"), cpu)
        if not split(size) and look(size, "ratios", "ours", "cpu"):
            limits.part(f"{name}: CPU a scrape (configuration not told apart)", CPU[name], size["ratios"]["ours"]["cpu"],
                        cpu)
        if name in PEAK:
            limits.part(f"{name}: peak memory", PEAK[name], worst_peak_ratio(size), ("peak memory", name))
    judge_latency(limits, sizes.get("L", {}))
    idle = look(results, "idle", "ours", "worst")
    limits.at_most("Idle: resident memory", IDLE_MIB, f"<= {IDLE_MIB:g} MiB", idle, "{:.1f} MiB")
    judge_bursts(limits, results.get("bursts", {}))
    for name in ("M", "L"):
        size = sizes.get(name, {})
        server_cpu = ("CPU of nats-server a scrape", name)
        limits.part(f"{name}: CPU of nats-server a scrape, without configuration", SERVER_CPU[name],
                    look(size, "ratios", "ours", "server_cpu") if split(size) else None, server_cpu)
        limits.part(f"{name}: CPU of nats-server a scrape, average of the interval", SERVER_CPU[name],
                    average_ratio(size, "server_cpu"), server_cpu)
    for name in ("S", "M", "L"):
        ours, official = (look(sizes, name, "shape", who, "consumer_bytes") for who in ("ours", "official"))
        limits.at_most(f"{name}: bytes per consumer, uncompressed", BYTES_SHARE,
                       f"<= {BYTES_SHARE:.0%} of the official", ours / official if ours and official else None, "{:.0%}",
                       ("bytes per consumer", name))
    # A real server of that size on the same processors delays everything by itself, which cannot be told apart.
    remote = look(results, "base", "synthetic") or {}
    for what, key in (("Base tier", "base"), ("Another target", "other_target")):
        limits.at_most(f"{what} beside scrapes of L (synthetic server): p99", BASE_MS, f"<= idle p99 + {BASE_MS:g} ms",
                       p99_more_ms(remote, key), "{:+.1f} ms")
    small, large = (look(results, "scaling", "single", name, "ours", "cpu_per_consumer") for name in ("M", "4xL"))
    limits.at_most("Growth of CPU per consumer from M to 4 x L", GROWTH, f"<= {GROWTH:g} x",
                   large / small if small and large else None, "{:.2f} x")
    return limits.rows


def p99_more_ms(base, key):
    """How much later the slowest hundredth is beside scrapes of L; nothing if one of those was not answered."""
    one = base.get(key)
    if not one or base["size"] != "L" or one["background_failed"]:
        return None
    return (one["beside"]["p99"] - one["idle"]["p99"]) * 1000


def judge_latency(limits, size):
    bound = f"<= {ANSWER_TIME:g} x"
    told_apart = split(size)
    for group, question in (("ours", OUR_QUESTIONS[0]), ("ours_config", OUR_QUESTIONS[1])):
        kind = "without configuration" if group == "ours" else "with configuration"
        measured = size if told_apart else {}
        limits.at_most(f"L: latency {kind}, to the server's answer to the official's question", ANSWER_TIME, bound,
                       look(measured, "to_answer", group, OFFICIAL_QUESTION), "{:.2f} x")
        limits.figure(f"L: latency {kind}, to the server's answer to our own question",
                      look(measured, "to_answer", group, question), "{:.2f} x")


def judge_bursts(limits, bursts):
    for name, bounds in BURST.items():
        one = look(bursts, name, "ours") or {}
        count = bounds["count"]
        what = f"{count} scrapes at once on {name}"
        whole = one.get("whole")
        limits.add(f"{what}: whole answers", f"{count}", whole, str, lambda v, count=count: v == count)
        if "questions" in bounds:
            limits.at_most(f"{what}: requests for /jsz with consumers", bounds["questions"], f"{bounds['questions']}",
                           one.get("detail_requests"), "{}")
        limits.at_most(f"{what}: worst latency", bounds["worst"], f"<= {bounds['worst']:g} x single",
                       one["worst"] / one["single"] if one else None, "{:.2f} x")
        if "peak" in bounds:
            form = "{:.2f} x"
            if one:
                form += f" ({one['peak_mib']:.1f} MiB, single {one['single_peak_mib']:.1f} MiB)"
            limits.at_most(f"{what}: peak memory", bounds["peak"], f"<= {bounds['peak']:g} x single",
                           one["peak_mib"] / one["single_peak_mib"] if one else None, form)
