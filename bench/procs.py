"""Processes that are started and surely stopped; their processor time and their memory (Linux)."""

import os
import pathlib
import random
import shutil
import socket
import subprocess
import tempfile
import time

HOST = "127.0.0.1"
# Below the ports that the system hands out for outgoing connections, so that none of them gets in the way.
PORTS = range(20000, 32000)
MIB = 1024.0


class Trouble(Exception):
    """A message for the user: what did not work."""


def free_port():
    for _ in range(200):
        port = random.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise Trouble("no free port was found")


class Child:
    def __init__(self, name, popen, log):
        self.name = name
        self.popen = popen
        self.pid = popen.pid
        self.log = log

    def alive(self):
        return self.popen.poll() is None

    def last_words(self):
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return "\n".join("    " + line for line in lines[-5:])

    def cpu(self):
        """Seconds of processor time, of all threads, the ended ones too: the process's own clock."""
        # How the kernel numbers the clock of another process: its id inverted, then the kind of clock.
        return time.clock_gettime((~self.pid << 3) | 2)

    def memory(self, field):
        with open(f"/proc/{self.pid}/status") as status:
            for line in status:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) / MIB
        raise Trouble(f"{self.name}: the system tells no {field}")

    def resident(self):
        return self.memory("VmRSS")

    def peak(self):
        return self.memory("VmHWM")

    def forget_peak(self):
        """From here on the peak is that of what follows."""
        with open(f"/proc/{self.pid}/clear_refs", "w") as switch:
            switch.write("5")

    def stop(self):
        if self.popen.poll() is not None:
            return
        self.popen.terminate()
        try:
            self.popen.wait(15)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait(15)


class Stage:
    """A temporary folder and the processes that work in it. Leaving it ends both."""

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="nats-compare-"))
        self.children = []
        self.count = 0
        return self

    def __exit__(self, *_):
        for child in reversed(self.children):
            child.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def place(self, name):
        self.count += 1
        return self.folder / f"{self.count:02}-{name}"

    def start(self, name, command, environment=None, output=None):
        log = self.place(name + ".log")
        with open(log, "wb") as handle:
            popen = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output or handle,
                stderr=handle,
                env={**os.environ, **(environment or {})},
            )
        child = Child(name, popen, log)
        self.children.append(child)
        return child

    def stop(self, child):
        child.stop()
        self.children.remove(child)


def wait_for_port(child, port, limit=60):
    """Until the process takes connections. Nothing is asked."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if not child.alive():
            raise Trouble(f"{child.name} ended at once:\n{child.last_words()}")
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise Trouble(f"{child.name} does not listen after {limit} s:\n{child.last_words()}")
