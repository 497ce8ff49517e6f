"""The measurements. Each returns plain dictionaries and lists; nothing is judged or rounded here."""

import contextlib
import gzip
import json
import multiprocessing
import random
import re
import selectors
import statistics
import subprocess
import time

import tools
from client import PLAIN, Relay, SlowReader, fetch, repeat, scrape_on_and_on, volley
from procs import HOST, Trouble, free_port, wait_for_port

# Ours with every consumer shown and no limit that could come in the way.
OUR_FLAGS = ["--jetstream.fold-ephemeral-consumers=false", "--limits.series-per-target=0", "--web.max-requests=0"]
# Ours asks for the configuration of streams and consumers now and then; these make it every scrape, or leave it so.
CONFIG_FLAG = "--jetstream.config-interval"
OUR_WITHOUT = []
OUR_WITH = [CONFIG_FLAG + "=0s"]
# The synthetic answers can be larger than what is allowed by default, and take longer.
OUR_FLAGS_SYNTHETIC = ["--scrape.timeout=120s"]
OUR_ENVIRONMENT_SYNTHETIC = {
    "NATS_EXPORTER_LIMITS_BODY_BYTES": str(2 << 30),
    "NATS_EXPORTER_SCRAPE_PERSISTENCE_TIMEOUT": "110s",
}
OFFICIAL_FLAGS = ["-varz", "-routez", "-healthz", "-jsz=all"]
OFFICIAL_QUESTION = "/jsz?consumers=true&config=true&raft=true"
# Without and with the configuration.
OUR_QUESTIONS = ["/jsz?consumers=true&limit=1024", "/jsz?consumers=true&config=true&limit=1024"]
# How often ours asks for the configuration by default, and how often Prometheus scrapes: one scrape in ten.
CONFIG_INTERVAL = 300
SCRAPE_INTERVAL = 30

SIZES = {"S": (10, 5), "M": (500, 10), "L": (5000, 10), "4xL": (20000, 10)}
# Work that goes on after the answer, such as collecting garbage, is counted until there is none for a moment.
SETTLE = 0.5
SETTLE_STEP = 0.25
SETTLE_LIMIT = 6.0
QUIET_SHARE = 0.08
# Single scrapes before the peak of the single ones is taken, and of how many it is taken.
WARM_UP = 5
SINGLES = 5
# How long the synthetic server waits where one on another machine works.
REMOTE_DELAY_MS = 300
CONSUMER_LABEL = re.compile(rb'[{,]consumer(_name)?="')

say = tools.say


class Programs:
    def __init__(self):
        self.nats_server = self.official = self.ours = self.dataset = self.synthetic = None
        self.config_interval = False


# -------------------------------------------------------------------------------------- what is run

class Server:
    """A nats-server of its own with JetStream, filled."""

    def __init__(self, stage, programs, size):
        self.stage, self.size = stage, size
        self.streams, self.consumers = SIZES[size]
        self.client_port, self.port = free_port(), free_port()
        self.url = f"http://{HOST}:{self.port}"
        folder = stage.place("nats")
        folder.mkdir()
        config = folder / "nats.conf"
        config.write_text(
            f"server_name: bench-{size}\nlisten: {HOST}:{self.client_port}\nhttp: {HOST}:{self.port}\n"
            f'jetstream {{ store_dir: "{folder}" }}\n'
        )
        self.child = stage.start("nats-server", [programs.nats_server, "-c", config])
        # The monitoring port is open before that of the clients.
        wait_for_port(self.child, self.port)
        wait_for_port(self.child, self.client_port)
        self.fill(programs)

    def fill(self, programs):
        say(f"filling a server with data set {self.size}: {self.streams} streams x {self.consumers} consumers")
        begin = time.monotonic()
        command = [
            programs.dataset, "--server", f"nats://{HOST}:{self.client_port}",
            "--streams", self.streams, "--consumers", self.consumers,
        ]
        filler = self.stage.start("dataset", command)
        try:
            if filler.popen.wait(600) != 0:
                raise Trouble(f"dataset did not fill the server:\n{filler.last_words()}")
        except subprocess.TimeoutExpired:
            raise Trouble("dataset did not fill the server within 600 s") from None
        finally:
            self.stage.stop(filler)
        self.fill_seconds = time.monotonic() - begin
        # The server writes and tidies for a moment.
        time.sleep(2 if self.size == "L" else 1)

    def requests(self):
        """What the server was asked so far, by path. This question is not in it."""
        counts = dict(json.loads(fetch(self.url + "/varz", PLAIN)[1])["http_req_stats"])
        if not hasattr(self, "own_requests"):
            self.own_requests = 0
        self.own_requests += 1
        counts["/varz"] = counts.get("/varz", 0) - self.own_requests
        return counts

    def stop(self):
        self.stage.stop(self.child)


class Exporter:
    def __init__(self, stage, name, command, port, environment=None):
        self.stage, self.name = stage, name
        self.base = f"http://{HOST}:{port}"
        self.url = self.base + "/metrics"
        self.child = stage.start(name, command, environment)
        wait_for_port(self.child, port)

    def stop(self):
        self.stage.stop(self.child)


def start_ours(stage, programs, targets, extra=(), environment=None, name="ours"):
    port = free_port()
    flags = [*OUR_FLAGS, *extra, f"--web.listen-address={HOST}:{port}"]
    return Exporter(stage, name, [programs.ours, *flags, *targets], port, environment)


def start_official(stage, programs, url):
    port = free_port()
    command = [programs.official, "-addr", HOST, "-port", port, *OFFICIAL_FLAGS, url]
    return Exporter(stage, "official", command, port)


@contextlib.contextmanager
def running(thing):
    try:
        yield thing
    finally:
        thing.stop()


# -------------------------------------------------------------------------------------- one scrape

def difference(after, before):
    return {path: after[path] - before.get(path, 0) for path in sorted(after) if after[path] != before.get(path, 0)}


def shape(answer, body, consumers):
    lines = [line for line in body.split(b"\n") if line and not line.startswith(b"#")]
    ones = [line for line in lines if CONSUMER_LABEL.search(line)]
    text = b"\n".join(ones) + b"\n"
    return {
        "series": len(lines),
        "body_bytes": len(body),
        "wire_bytes": answer.wire,
        "consumer_lines": len(ones),
        "consumer_bytes": len(text) / consumers if ones else None,
        "consumer_gzip_bytes": len(gzip.compress(text, 6)) / consumers if ones else None,
    }


def settle(*children):
    """Until the processes have nothing to do any more, or as long as is waited for it."""
    end = time.monotonic() + SETTLE_LIMIT
    time.sleep(SETTLE - SETTLE_STEP)
    while time.monotonic() < end:
        before = [child.cpu() for child in children]
        time.sleep(SETTLE_STEP)
        if all(child.cpu() - cpu < SETTLE_STEP * QUIET_SHARE for child, cpu in zip(children, before)):
            return


def timed_answer(server, path):
    """The server's own answer to a question, without an exporter."""
    cpu = server.child.cpu()
    answer = volley(server.url + path, headers=PLAIN)[0]
    settle(server.child)
    return {
        "latency": answer.seconds, "bytes": answer.wire, "error": answer.error, "server_cpu": server.child.cpu() - cpu
    }


def timed_scrape(exporter, server=None, wire=None):
    """One scrape with what it cost. `wire` is the size of a whole answer: half of it or less is not whole."""
    asked = server.requests() if server else {}
    exporter.child.forget_peak()
    cpu = exporter.child.cpu()
    server_cpu = server.child.cpu() if server else 0.0
    answer = volley(exporter.url)[0]
    settle(*[one.child for one in (exporter, server) if one])
    figures = {
        "latency": answer.seconds,
        "cpu": exporter.child.cpu() - cpu,
        "peak_mib": exporter.child.peak(),
        "wire_bytes": answer.wire,
        "error": answer.error,
    }
    if not answer.error and wire and answer.wire < wire / 2:
        figures["error"] = f"only {answer.wire} bytes"
    if server:
        figures["server_cpu"] = server.child.cpu() - server_cpu
        figures["asked"] = difference(server.requests(), asked)
    return figures


def middle(figures, key):
    values = [one[key] for one in figures if not one.get("error") and one.get(key) is not None]
    return statistics.median(values) if values else None


def summary(rounds):
    keys = ("latency", "cpu", "server_cpu", "wire_bytes")
    return {key: middle(rounds, key) for key in keys} | {
        "peak_mib": max(one["peak_mib"] for one in rounds),
        "failed": sum(1 for one in rounds if one["error"]),
        "asked": next((one["asked"] for one in reversed(rounds) if "asked" in one), {}),
    }


def ratios(numerators, denominators, keys):
    """The median of the quotients of what was measured in the same round."""
    found = {}
    for key in keys:
        pairs = [
            upper[key] / lower[key]
            for upper, lower in zip(numerators, denominators)
            if not upper["error"] and not lower["error"] and lower.get(key)
        ]
        found[key] = statistics.median(pairs) if pairs else None
    return found


def questions_of(stage, start, server):
    """What an exporter asks the server in its first and in its second scrape, with the queries."""
    with Relay(server.port) as relay, running(start(relay.url)) as exporter:
        found = []
        for _ in range(2):
            fetch(exporter.url)
            found.append(relay.take())
        return found


def detail_questions(asked):
    """The questions for consumers."""
    return {path for path in asked if path.startswith("/jsz?") and "consumers=" in path}


# -------------------------------------------------------------------------------------- data sets

def compare_size(stage, programs, server, rounds):
    """The exporters in turn, each scraped once a round, and the server's own answers to their questions."""
    starts = {}
    if programs.official:
        starts["official"] = lambda url: start_official(stage, programs, url)
    starts["ours"] = lambda url: start_ours(stage, programs, [url], OUR_WITHOUT)
    if programs.config_interval:
        starts["ours_config"] = lambda url: start_ours(stage, programs, [url], OUR_WITH, name="ours-with-config")
    consumers = server.streams * server.consumers
    result = {"streams": server.streams, "consumers": consumers, "fill_seconds": server.fill_seconds}

    say(f"{server.size}: counting what each exporter asks")
    result["questions"] = {name: questions_of(stage, start, server) for name, start in starts.items()}
    expected = {"official": OFFICIAL_QUESTION, "ours": OUR_QUESTIONS[0], "ours_config": OUR_QUESTIONS[1]}
    if not programs.config_interval:
        expected["ours"] = OUR_QUESTIONS[1]
    result["unexpected"] = [
        f"{name} asks {' and '.join(sorted(found)) or 'nothing'} for its consumers, not {expected[name]}"
        for name, (_, second) in result["questions"].items()
        if (found := detail_questions(second)) != {expected[name]}
    ]

    with contextlib.ExitStack() as open_ones:
        exporters = {name: open_ones.enter_context(running(start(server.url))) for name, start in starts.items()}
        result["shape"] = {}
        for name, exporter in exporters.items():
            answer, body = fetch(exporter.url)
            result["shape"][name] = shape(answer, body, consumers)
            if result["shape"][name]["consumer_lines"] < consumers:
                say(f"{server.size}: {name} shows only {result['shape'][name]['consumer_lines']} lines with a consumer")
            del body
        raw = {name: [] for name in exporters}
        answers = {path: [] for path in [OFFICIAL_QUESTION, *OUR_QUESTIONS]}
        steps = [
            *((raw[name], timed_scrape, (exporter, server, result["shape"][name]["wire_bytes"]))
              for name, exporter in exporters.items()),
            *((answers[path], timed_answer, (server, path)) for path in answers),
        ]
        for number in range(rounds):
            say(f"{server.size}: round {number + 1} of {rounds}")
            # In another order each time, so that none always pays for the garbage that the others have left.
            for figures, measure, what in random.Random(number).sample(steps, len(steps)):
                figures.append(measure(*what))
    result["rounds"], result["answers"] = raw, answers
    result["summary"] = {name: summary(ones) for name, ones in raw.items()}
    result["answer_summary"] = {
        path: {key: middle(ones, key) for key in ("latency", "bytes", "server_cpu")} for path, ones in answers.items()
    }
    keys = ("latency", "cpu", "server_cpu")
    result["ratios"] = {}
    result["to_answer"] = {}
    for name, ones in raw.items():
        if name != "official" and "official" in raw:
            of_pairs = ratios(raw["official"], ones, keys)
            ours_peak = result["summary"][name]["peak_mib"]
            of_pairs["peak_mib"] = result["summary"]["official"]["peak_mib"] / ours_peak
            result["ratios"][name] = of_pairs
        result["to_answer"][name] = {
            path: ratios(ones, given, ("latency",))["latency"] for path, given in answers.items()
        }
    result["server_resident_mib"] = server.child.resident()
    return result


# -------------------------------------------------------------------------------------- bursts

def burst(stage, start, server, count, rounds, count_questions, limit=120):
    """Many scrapes at the same moment, after single ones of the same process."""
    with running(start(server.url)) as exporter:
        wire = fetch(exporter.url)[0].wire
        for _ in range(WARM_UP):
            volley(exporter.url)
            settle(exporter.child)
        single, single_peaks = [], []
        for _ in range(SINGLES):
            exporter.child.forget_peak()
            answer = volley(exporter.url)[0]
            settle(exporter.child)
            if not answer.error:
                single.append(answer.seconds)
                single_peaks.append(exporter.child.peak())
        if not single:
            raise Trouble(f"{exporter.name}: no single scrape was answered: {answer.error}")
        bursts = []
        for number in range(rounds):
            say(f"{server.size}: {count} scrapes of {exporter.name} at once, {number + 1} of {rounds}")
            time.sleep(1)
            asked = server.requests()
            exporter.child.forget_peak()
            cpu, server_cpu = exporter.child.cpu(), server.child.cpu()
            answers = volley(exporter.url, count, limit=limit)
            whole = [one for one in answers if not one.error and one.wire > wire / 2]
            settle(exporter.child, server.child)
            bursts.append({
                "latencies": sorted(one.seconds for one in answers),
                "whole": len(whole),
                "errors": sorted({one.error for one in answers if one.error}),
                "peak_mib": exporter.child.peak(),
                "cpu": exporter.child.cpu() - cpu,
                "server_cpu": server.child.cpu() - server_cpu,
                "asked": difference(server.requests(), asked),
            })
    result = {
        "count": count, "single": statistics.median(single), "singles": single,
        "single_peak_mib": max(single_peaks), "single_peaks_mib": single_peaks, "bursts": bursts,
        "median": statistics.median(x for one in bursts for x in one["latencies"]),
        "worst": max(one["latencies"][-1] for one in bursts),
        "peak_mib": max(one["peak_mib"] for one in bursts),
        "whole": min(one["whole"] for one in bursts),
    }
    if count_questions:
        say(f"{server.size}: counting what a burst asks the server")
        result["questions"] = []
        with Relay(server.port) as relay, running(start(relay.url)) as exporter:
            fetch(exporter.url)
            for _ in range(rounds):
                time.sleep(1)
                relay.take()
                volley(exporter.url, count, limit=limit)
                result["questions"].append(relay.take())
        result["detail_requests"] = max(
            sum(number for path, number in asked.items() if path.startswith("/jsz?") and "consumers=" in path)
            for asked in result["questions"]
        )
    return result


# -------------------------------------------------------------------------------------- base tier, other target

@contextlib.contextmanager
def scrapes_in_background(url, limit=180):
    """From another process, so that its reading does not delay what is measured here."""
    stop, done = multiprocessing.Event(), multiprocessing.Array("i", 2)
    worker = multiprocessing.Process(target=scrape_on_and_on, args=(url, stop, done, limit), daemon=True)
    worker.start()
    try:
        yield done
    finally:
        stop.set()
        worker.join(70)
        if worker.is_alive():
            worker.kill()
            worker.join()


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(values):
    return {
        "count": len(values), "median": statistics.median(values), "p99": percentile(values, 0.99), "max": max(values)
    }


def idle_and_beside(url, busy_url, count, pause):
    """The same requests while nothing else happens, and beside scrapes that go on without a pause."""
    repeat(url, 5, pause)
    idle = repeat(url, count, pause)
    with scrapes_in_background(busy_url) as done:
        time.sleep(0.3)
        beside = repeat(url, count, pause, limit=120, until=lambda: done[0] + done[1] >= 3)
        scrapes = list(done)
    return {
        "idle": spread(idle), "beside": spread(beside), "background_scrapes": scrapes[0],
        "background_failed": scrapes[1],
    }


def base_beside(stage, programs, size, url, small, count):
    """The base tier, and another target, while large answers of the server at `url` are made."""
    result = {"size": size, "small": small.size}
    say(f"{size}: the base tier alone, then beside scrapes without a pause")
    with running(start_ours(stage, programs, [url])) as exporter:
        fetch(exporter.url)
        result["base"] = idle_and_beside(exporter.url + "?tier=base", exporter.url, count, 0.01)
        # How much of it is the busy server and the shared processor.
        result["server"] = idle_and_beside(url + "/varz", exporter.url, count, 0.01)

    say(f"{size}: another target in the same exporter, alone and beside")
    config = stage.place("targets.yaml")
    config.write_text(f"targets:\n  - name: large\n    url: {url}\n  - name: small\n    url: {small.url}\n")
    with running(start_ours(stage, programs, [f"--config.file={config}"])) as exporter:
        large, other = (f"{exporter.base}/probe?target={name}" for name in ("large", "small"))
        fetch(large)
        fetch(other)
        result["other_target"] = idle_and_beside(other, large, count, 0.01)
    return result


def base_beside_synthetic(stage, programs, size, small, count):
    """The same with a server that waits where a real one works, as if that work were done on another machine."""
    streams, consumers = SIZES[size]
    with synthetic(stage, programs, streams, consumers, delay_ms=REMOTE_DELAY_MS) as urls:
        return base_beside(stage, programs, size, urls[0], small, count) | {"delay_ms": REMOTE_DELAY_MS}


# -------------------------------------------------------------------------------------- synthetic servers

@contextlib.contextmanager
def synthetic(stage, programs, streams, consumers, accounts=1, servers=1, replicas=1, mirrors=0, delay_ms=0):
    """The addresses of generated monitoring endpoints."""
    command = [programs.synthetic]
    options = {
        "streams": streams, "consumers": consumers, "accounts": accounts, "servers": servers, "replicas": replicas,
        "mirrors": mirrors, "delay-ms": delay_ms,
    }
    for name, value in options.items():
        command += ["--" + name, value]
    child = stage.start("synthetic", command, output=subprocess.PIPE)
    try:
        yield addresses(read_line(child, 120))
    finally:
        child.popen.stdout.close()
        stage.stop(child)


def read_line(child, limit):
    with selectors.DefaultSelector() as selector:
        selector.register(child.popen.stdout, selectors.EVENT_READ)
        if not selector.select(limit):
            raise Trouble(f"{child.name} said nothing within {limit} s")
    line = child.popen.stdout.readline()
    if not line:
        child.popen.wait(5)
        raise Trouble(f"{child.name} ended at once:\n{child.last_words()}")
    return line


def addresses(line):
    """The addresses in a line of JSON, whatever their key is called."""
    found = []

    def walk(value):
        if isinstance(value, str) and value.startswith("http://"):
            found.append(value.rstrip("/"))
        elif isinstance(value, dict):
            for one in value.values():
                walk(one)
        elif isinstance(value, list):
            for one in value:
                walk(one)

    walk(json.loads(line))
    if not found:
        raise Trouble(f"synthetic named no address: {line.decode().strip()}")
    return list(dict.fromkeys(found))


def scale(stage, programs, name, urls, streams, consumers, rounds):
    total = streams * consumers
    groups = {"ours": OUR_WITHOUT} | ({"ours_config": OUR_WITH} if programs.config_interval else {})
    result = {"streams": streams, "consumers": total, "servers": len(urls)}
    for group, flags in groups.items():
        say(f"synthetic {name}: {streams} streams x {consumers} consumers, {len(urls)} server(s), {group}")
        with running(
            start_ours(stage, programs, urls, [*flags, *OUR_FLAGS_SYNTHETIC], OUR_ENVIRONMENT_SYNTHETIC)
        ) as exporter:
            answer, body = fetch(exporter.url, limit=180)
            shown = shape(answer, body, total)
            del body
            figures = [timed_scrape(exporter, wire=answer.wire) for _ in range(rounds)]
        cpu = middle(figures, "cpu")
        result[group] = {
            "shape": shown, "rounds": figures, "latency": middle(figures, "latency"), "cpu": cpu,
            "cpu_per_consumer": cpu / total if cpu is not None else None,
            "peak_mib": max(one["peak_mib"] for one in figures),
            "failed": sum(1 for one in figures if one["error"]),
        }
        with contextlib.suppress(Trouble, ValueError):
            result[group]["requests"] = json.loads(fetch(urls[0] + "/requests", PLAIN)[1])
    return result


def scaling(stage, programs, sizes, rounds, cluster):
    result = {"single": {}, "cluster": None}
    for size in sizes:
        streams, consumers = SIZES[size]
        with synthetic(stage, programs, streams, consumers) as urls:
            result["single"][size] = scale(stage, programs, size, urls[:1], streams, consumers, rounds)
    streams, consumers = SIZES[cluster]
    shape_of = {"accounts": 2, "servers": 3, "replicas": 3, "mirrors": max(1, streams // 20)}
    with synthetic(stage, programs, streams, consumers, **shape_of) as urls:
        result["cluster"] = shape_of | {"size": cluster} | scale(
            stage, programs, "cluster", urls[:3], streams, consumers, rounds
        )
    return result


# -------------------------------------------------------------------------------------- slow readers

def slow_readers(stage, programs, server, rounds, speed=50_000):
    """Normal scrapes while one client takes its answer slowly, or does not take it."""
    result = {"size": server.size, "bytes_per_second": speed}
    for name, reader_speed in (("undisturbed", None), ("slow", speed), ("not_reading", 0)):
        say(f"{server.size}: scrapes beside a reader: {name.replace('_', ' ')}")
        with running(start_ours(stage, programs, [server.url])) as exporter:
            wire = fetch(exporter.url)[0].wire
            reader = None
            # The peak counts from before the disturbing client on.
            exporter.child.forget_peak()
            try:
                if reader_speed is not None:
                    reader = SlowReader(exporter.url, reader_speed)
                    reader.wait_until_it_reads()
                    time.sleep(0 if reader_speed else SETTLE)
                figures = []
                for _ in range(rounds):
                    answer = volley(exporter.url)[0]
                    whole = not answer.error and answer.wire > wire / 2
                    figures.append({
                        "latency": answer.seconds,
                        "error": answer.error or (None if whole else f"only {answer.wire} bytes"),
                    })
                    time.sleep(SETTLE)
                result[name] = {
                    "rounds": figures, "latency": middle(figures, "latency"), "peak_mib": exporter.child.peak(),
                    "still_reading": bool(reader and reader.thread.is_alive()), "wire_bytes": wire,
                    "failed": sum(1 for one in figures if one["error"]),
                }
            finally:
                if reader:
                    reader.close()
    return result


# -------------------------------------------------------------------------------------- idle

def idle(stage, programs, rounds=3, wait=5):
    """Resident memory of a freshly started exporter that was not scraped."""
    say("idle: resident memory after the start")
    nobody = f"http://{HOST}:{free_port()}"
    starts = {"ours": lambda: start_ours(stage, programs, [nobody])}
    if programs.official:
        starts["official"] = lambda: start_official(stage, programs, nobody)
    result = {}
    for name, start in starts.items():
        values = []
        for _ in range(rounds):
            with running(start()) as exporter:
                time.sleep(wait)
                values.append(exporter.child.resident())
        result[name] = {"resident_mib": values, "worst": max(values)}
    return result
