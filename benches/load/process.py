"""Processes pinned to a core, and what they cost: CPU time and memory from /proc.

The kernel counts CPU time exactly and tells it in steps of 10 ms: 0.2 % of a round of 5 s.
"""

import os
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request

TICK = 1 / os.sysconf("SC_CLK_TCK")


class Process:
    """A server on a free loopback port. The word LISTEN in its command, and the variable, is its address."""

    def __init__(self, name, core, command, environment, scheme="http"):
        self.name, self.core, self.address, self.scheme = name, core, free_address(), scheme
        arguments = [self.address if word == "LISTEN" else word for word in command]
        # Nothing of the caller's environment reaches what is measured.
        environment = {"LISTEN": self.address, **environment}
        self.child = subprocess.Popen(arguments, env=environment, preexec_fn=lambda: os.sched_setaffinity(0, {core}))

    def wait_until_it_answers(self, path="/", seconds=120):
        deadline = time.monotonic() + seconds
        # The certificate is the harness' own.
        anyone = ssl._create_unverified_context() if self.scheme == "https" else None
        while True:
            try:
                with urllib.request.urlopen(f"{self.scheme}://{self.address}{path}", timeout=5, context=anyone) as answer:
                    return answer.read()
            except (urllib.error.URLError, ConnectionError) as error:
                if self.child.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{self.name} does not answer: {error}") from None
                time.sleep(0.05)

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


def free_address():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def busy_seconds(cores):
    """What all processes have used of the cores, and what the hypervisor took away."""
    with open("/proc/stat") as file:
        lines = [line.split() for line in file]
    used = [map(int, fields[1:4] + fields[6:9]) for fields in lines if fields[0] in [f"cpu{core}" for core in cores]]
    return sum(map(sum, used)) * TICK
