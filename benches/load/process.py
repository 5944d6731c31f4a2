"""Processes pinned to a core, and what they cost: CPU time and memory from /proc.

The kernel counts CPU time exactly and tells it in steps of 10 ms: 0.2 % of a round of 5 s.
"""

import os
import re
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

TICK = 1 / os.sysconf("SC_CLK_TCK")


class Process:
    """A server on a loopback port, a free one if none is given. The word LISTEN in its command, and the variable, is its address."""

    def __init__(self, name, core, command, environment, scheme="http", address=None):
        self.name, self.core, self.scheme = name, core, scheme
        self.address = address or self.free_address()
        arguments = [self.address if word == "LISTEN" else word for word in command]
        # Nothing of the caller's environment reaches what is measured, but for what it is given.
        environment = {"LISTEN": self.address, **environment}
        self.began, self.seconds_to_answer = time.monotonic(), None
        # What it says on its standard error, and how far that was read.
        self.told, self.place = tempfile.TemporaryFile("w+b"), 0
        self.child = subprocess.Popen(arguments, env=environment, stderr=self.told, preexec_fn=lambda: os.sched_setaffinity(0, {core}))

    @staticmethod
    def free_address():
        with socket.create_server(("127.0.0.1", 0)) as server:
            return f"127.0.0.1:{server.getsockname()[1]}"

    def wait_until_it_listens(self, seconds=120):
        host, port = self.address.split(":")
        deadline = time.monotonic() + seconds
        while True:
            try:
                return socket.create_connection((host, int(port)), timeout=5).close()
            except OSError as error:
                self.wait_on(deadline, error)

    def wait_until_it_answers(self, seconds=120):
        """With whatever status."""
        self.wait_until_it_listens(seconds)
        deadline = time.monotonic() + seconds
        # The certificate is the harness' own.
        anyone = ssl._create_unverified_context() if self.scheme == "https" else None
        while self.seconds_to_answer is None:
            try:
                urllib.request.urlopen(f"{self.scheme}://{self.address}/", timeout=5, context=anyone).close()
                self.seconds_to_answer = time.monotonic() - self.began
            except urllib.error.HTTPError:
                self.seconds_to_answer = time.monotonic() - self.began
            except (urllib.error.URLError, ConnectionError) as error:
                self.wait_on(deadline, error)

    def wait_on(self, deadline, error):
        if self.child.poll() is not None or time.monotonic() > deadline:
            self.told.seek(0)
            said = self.told.read()[-2000:].decode(errors="replace")
            raise SystemExit(f"{self.name} does not answer: {error}\n{said}") from None
        time.sleep(0.002)

    def says(self, pattern, seconds=10):
        """What it says next on its standard error that has this pattern: the pattern's first group."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with open(f"/proc/self/fd/{self.told.fileno()}", "rb") as told:
                told.seek(self.place)
                found = re.search(pattern.encode(), told.read())
            if found:
                self.place += found.end()
                return found[1].decode()
            time.sleep(0.01)
        raise SystemExit(f"{self.name} does not say {pattern!r}")

    def cpu_seconds(self):
        """User and system time of all its threads, ended ones too."""
        with open(f"/proc/{self.child.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK

    def memory_mb(self):
        with open(f"/proc/{self.child.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024

    def stop(self):
        self.child.terminate()
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


def busy_seconds(cores):
    """What all processes have used of the cores, and what the hypervisor took away."""
    with open("/proc/stat") as file:
        lines = [line.split() for line in file]
    used = [map(int, fields[1:4] + fields[6:9]) for fields in lines if fields[0] in [f"cpu{core}" for core in cores]]
    return sum(map(sum, used)) * TICK
