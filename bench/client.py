"""The HTTP side: many requests at once, one after the other, slow readers, and a relay that counts."""

import collections
import contextlib
import gzip
import http.client
import selectors
import signal
import socket
import threading
import time
import urllib.parse

from procs import HOST, Trouble

# What Prometheus 3 sends.
SCRAPE = {
    "Accept": "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
    "Accept-Encoding": "gzip",
    "User-Agent": "nats-exporter-compare",
}
PLAIN = {"User-Agent": "nats-exporter-compare"}
BUFFER = 1 << 20


class Answer:
    """What came back, and when. `wire` counts the bytes after the head."""

    def __init__(self, keep):
        self.head = b""
        self.complete_head = False
        self.status = 0
        self.wire = 0
        self.seconds = 0.0
        self.error = None
        self.parts = [] if keep else None
        self.tail = b""

    def take(self, data):
        if not self.complete_head:
            self.head += data
            head, end, rest = self.head.partition(b"\r\n\r\n")
            if not end:
                return
            self.head, self.complete_head = head.lower(), True
            self.status = int(head.split(None, 2)[1])
            data = memoryview(rest)
        self.wire += len(data)
        if len(data):
            self.tail = (self.tail + bytes(data[-8:]))[-8:]
        if self.parts is not None:
            self.parts.append(bytes(data))

    def header(self, name):
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key == name:
                return value.strip()
        return None

    def chunked(self):
        return self.header(b"transfer-encoding") == b"chunked"

    def end(self):
        """The other side has closed: is everything there?"""
        if self.error:
            return
        length = self.header(b"content-length")
        if not self.complete_head:
            self.error = "closed before the head was complete"
        elif length is not None and int(length) != self.wire:
            self.error = f"{self.wire} of {int(length)} bytes"
        elif length is None and self.chunked() and not self.tail.endswith(b"0\r\n\r\n"):
            self.error = "cut in the middle"
        elif self.status != 200:
            self.error = f"status {self.status}"

    def body(self):
        data = b"".join(self.parts)
        if self.chunked():
            data = join_chunks(data)
        return gzip.decompress(data) if self.header(b"content-encoding") == b"gzip" else data


def join_chunks(data):
    whole, at = [], 0
    while True:
        line = data.index(b"\r\n", at)
        size = int(data[at:line].split(b";")[0], 16)
        if size == 0:
            return b"".join(whole)
        whole.append(data[line + 2 : line + 2 + size])
        at = line + 2 + size + 2


def request_to(url, headers, close=True):
    parts = urllib.parse.urlsplit(url)
    path = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    lines = [f"GET {path} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += ["Connection: close"] if close else []
    return (parts.hostname, parts.port or 80), "\r\n".join([*lines, "", ""]).encode()


def volley(url, count=1, headers=None, limit=120, keep=False):
    """Send requests at the same moment, each on a connection that is open already.

    The clock of a request runs from its being sent until its last byte. One thread reads everything into
    one buffer and throws it away, so that the client takes little from what is measured.
    """
    address, request = request_to(url, SCRAPE if headers is None else headers)
    view = memoryview(bytearray(BUFFER))
    connections = []
    with contextlib.ExitStack() as open_ones, selectors.DefaultSelector() as selector:
        for _ in range(count):
            connection = open_ones.enter_context(socket.create_connection(address, timeout=10))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connections.append(connection)
        # The server is given the time to take them all.
        time.sleep(0.02 if count == 1 else 0.2)
        answers = []
        for connection in connections:
            answer = Answer(keep)
            answer.sent = time.perf_counter()
            connection.sendall(request)
            selector.register(connection, selectors.EVENT_READ, answer)
            answers.append(answer)
        left, end = count, time.perf_counter() + limit
        while left:
            remaining = end - time.perf_counter()
            if remaining <= 0:
                break
            for key, _ in selector.select(remaining):
                answer = key.data
                try:
                    size = key.fileobj.recv_into(view)
                except OSError as error:
                    answer.error, size = str(error), 0
                if size == 0:
                    selector.unregister(key.fileobj)
                    answer.end()
                    left -= 1
                else:
                    answer.seconds = time.perf_counter() - answer.sent
                    answer.take(view[:size])
        for key in list(selector.get_map().values()):
            key.data.error = f"not complete after {limit} s"
            key.data.seconds = float(limit)
    return answers


def fetch(url, headers=None, limit=120):
    """The body of one answer, with the answer itself."""
    answer = volley(url, headers=headers, limit=limit, keep=True)[0]
    if answer.error:
        raise Trouble(f"GET {urllib.parse.urlsplit(url).path}: {answer.error}")
    return answer, answer.body()


def repeat(url, count, pause, limit=60, until=None):
    """Requests one after the other on one connection, as Prometheus does it: the seconds that each took.

    Goes on until there are `count` of them and `until` says that it is enough; the limit ends it in any case.
    """
    parts = urllib.parse.urlsplit(url)
    path = parts.path + ("?" + parts.query if parts.query else "")
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    took, end = [], time.monotonic() + limit
    try:
        while time.monotonic() < end and (len(took) < count or (until and not until())):
            start = time.perf_counter()
            connection.request("GET", path, headers=SCRAPE)
            answer = connection.getresponse()
            answer.read()
            took.append(time.perf_counter() - start)
            if answer.status != 200:
                raise Trouble(f"GET {path}: status {answer.status}")
            time.sleep(pause)
    finally:
        connection.close()
    if len(took) < count:
        raise Trouble(f"GET {path}: only {len(took)} of {count} answers in {limit} s")
    return took


def scrape_on_and_on(url, stop, done, limit):
    """The body of a process in the background: one scrape after the other, without a pause."""
    # Whoever started it ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end = time.monotonic() + limit
    while not stop.is_set() and time.monotonic() < end:
        answer = volley(url, limit=60)[0]
        with done.get_lock():
            done[0 if answer.error is None else 1] += 1


class SlowReader:
    """Takes one answer at a given speed; with a speed of zero it does not read at all."""

    def __init__(self, url, bytes_per_second, limit=120):
        address, request = request_to(url, SCRAPE)
        self.speed = bytes_per_second
        self.read = 0
        self.connection = socket.socket()
        # Little room on this side, or the system would take for the reader what it does not read.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
        self.connection.settimeout(limit)
        self.connection.connect(address)
        self.connection.sendall(request)
        self.stopping = threading.Event()
        self.end = time.monotonic() + limit
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        step = 0.1
        while self.speed and time.monotonic() < self.end and not self.stopping.wait(step):
            try:
                got = self.connection.recv(int(self.speed * step))
            except OSError:
                return
            if not got:
                return
            self.read += len(got)

    def wait_until_it_reads(self, limit=60):
        end = time.monotonic() + limit
        while self.speed and not self.read and self.thread.is_alive() and time.monotonic() < end:
            time.sleep(0.05)

    def close(self):
        self.stopping.set()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        self.connection.close()


class Relay:
    """Stands before a monitoring port and counts what is asked, with the query. Never used for timings."""

    def __init__(self, port):
        self.upstream = port
        self.lock = threading.Lock()
        self.asked = collections.Counter()
        self.sockets = []
        self.listener = socket.create_server((HOST, 0), backlog=512)
        self.url = f"http://{HOST}:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection((HOST, self.upstream), timeout=30)
            except OSError:
                return
            far.settimeout(None)
            with self.lock:
                self.sockets += [near, far]
            threading.Thread(target=self.forward, args=(near, far), daemon=True).start()
            threading.Thread(target=self.back, args=(far, near), daemon=True).start()

    def forward(self, near, far):
        """Only GET requests without a body come along here."""
        waiting = b""
        with contextlib.suppress(OSError):
            while got := near.recv(65536):
                waiting += got
                while b"\r\n\r\n" in waiting:
                    head, _, waiting = waiting.partition(b"\r\n\r\n")
                    with self.lock:
                        self.asked[head.split(None, 2)[1].decode()] += 1
                far.sendall(got)
        self.hang_up(far)

    def back(self, far, near):
        with contextlib.suppress(OSError):
            while got := far.recv(BUFFER):
                near.sendall(got)
        self.hang_up(near)

    @staticmethod
    def hang_up(end):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_WR)

    def take(self):
        """What was asked since the last time."""
        with self.lock:
            asked, self.asked = self.asked, collections.Counter()
        return dict(sorted(asked.items()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for end in [self.listener, *self.sockets]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
