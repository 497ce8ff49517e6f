"""The programs: fetched, installed or built, unless their paths are given."""

import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
NATS_VERSION = "2.14.6"
OFFICIAL_MODULE = "github.com/nats-io/prometheus-nats-exporter"
OFFICIAL_VERSION = "v0.20.1"
BUILD_LIMIT = 1800


class Missing(Exception):
    """A program is not to be had; the message says what to do."""


def say(text):
    print("compare: " + text, file=sys.stderr, flush=True)


def run(command, limit, **options):
    try:
        return subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, timeout=limit, cwd=TOP, **options
        )
    except OSError as error:
        raise Missing(f"{command[0]} does not run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise Missing(f"{command[0]} did not end within {limit} s") from None


def given(path, what):
    path = pathlib.Path(path).absolute()
    if not os.access(path, os.X_OK) or path.is_dir():
        raise Missing(f"{what}: {path} is not a program")
    return path


def nats_server(path):
    if path:
        return given(path, "--nats-server")
    done = run([sys.executable, TOP / "tools" / "fetch", "nats-server", NATS_VERSION], 600)
    if done.returncode != 0:
        raise Missing(f"nats-server {NATS_VERSION} could not be fetched:\n{done.stderr.strip()}")
    return pathlib.Path(done.stdout.strip())


def official(path):
    if path:
        return given(path, "--official")
    cache = pathlib.Path(os.environ.get("NATS_TOOLS_DIR") or TOP / ".tools").absolute()
    folder = cache / f"prometheus-nats-exporter-{OFFICIAL_VERSION}"
    program = folder / "prometheus-nats-exporter"
    if program.exists():
        return program
    otherwise = (
        "Name a binary of that version with --official PATH, or leave the official exporter out with "
        "--without-official; then only the limits that need no comparison are judged."
    )
    if not shutil.which("go"):
        raise Missing(
            f"Go is not on the PATH. It is needed to install the official exporter {OFFICIAL_VERSION}, and for nothing "
            f"else. {otherwise}"
        )
    say(f"installing the official exporter {OFFICIAL_VERSION} with go install")
    done = run(
        ["go", "install", f"{OFFICIAL_MODULE}@{OFFICIAL_VERSION}"],
        BUILD_LIMIT,
        env={**os.environ, "GOBIN": str(folder)},
    )
    if done.returncode != 0 or not program.exists():
        said = "\n".join("    " + line for line in done.stderr.strip().splitlines()[-5:])
        raise Missing(f"go install {OFFICIAL_MODULE}@{OFFICIAL_VERSION} did not work:\n{said}\n{otherwise}")
    return program


def build(arguments, names):
    """Build programs of this repository. Their paths, in the order of the names."""
    say("building " + ", ".join(names))
    command = ["cargo", "build", "--release", *arguments]
    for name in names:
        command += ["--bin", name]
    done = run(command, BUILD_LIMIT)
    if done.returncode != 0:
        said = "\n".join("    " + line for line in done.stderr.strip().splitlines()[-8:])
        raise Missing(f"{' '.join(command)} did not work:\n{said}")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or TOP / "target")
    return [(TOP / target / "release" / name) for name in names]


def ours(path):
    return given(path, "--exporter") if path else build([], ["nats-exporter"])[0]


def harness(paths):
    """`paths` has the name and the given path, or None, of each program."""
    missing = [name for name, path in paths.items() if not path]
    found = {name: given(path, "--" + name) for name, path in paths.items() if path}
    if missing:
        found |= dict(zip(missing, build(["-p", "nats-harness"], missing)))
    return found


# ------------------------------------------------------------------------------------ what they are

def version_of(program):
    done = run([program, "--version"], 20)
    found = re.search(r"v?(\d+\.\d+\.\d+\S*)", done.stdout + done.stderr)
    return found.group(1) if found else "unknown"


def version_of_official(program):
    """What the Go tool chain wrote into the binary; `go install` sets no version of its own."""
    if shutil.which("go"):
        said = run(["go", "version", "-m", program], 20).stdout
        module = re.search(r"^\s*mod\s+" + re.escape(OFFICIAL_MODULE) + r"\s+(\S+)", said, re.MULTILINE)
        compiler = re.search(r": (go\S+)", said)
        if module:
            return f"{module.group(1)}, {compiler.group(1)}" if compiler else module.group(1)
    return f"as given, not known to be {OFFICIAL_VERSION}"


def commit():
    if not shutil.which("git"):
        return None
    done = run(["git", "rev-parse", "--short", "HEAD"], 20)
    if done.returncode != 0:
        return None
    changed = run(["git", "status", "--porcelain", "--untracked-files=no", "--", "src", "Cargo.toml", "Cargo.lock"], 60)
    return done.stdout.strip() + (" with changes" if changed.stdout.strip() else "")


def understands(program, flag):
    return flag in run([program, "--help"], 20).stdout


def machine():
    model = next(
        (line.split(":", 1)[1].strip() for line in lines_of("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    total = next(int(line.split()[1]) for line in lines_of("/proc/meminfo") if line.startswith("MemTotal"))
    kernel = re.match(r"[\d.]*\d", platform.release())
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(total / 1024 / 1024, 1),
        "system": f"{platform.system()} {kernel.group() if kernel else platform.release()}",
    }


def others_use(seconds=2):
    """How many processors are in use, while nothing of ours runs."""
    def used():
        ticks = [int(word) for word in lines_of("/proc/stat")[0].split()[1:9]]
        # Idle and waiting for the disk are the fourth and the fifth.
        return sum(ticks) - ticks[3] - ticks[4]

    before = used()
    time.sleep(seconds)
    return (used() - before) / os.sysconf("SC_CLK_TCK") / seconds


def lines_of(path):
    with open(path) as handle:
        return handle.read().splitlines()
