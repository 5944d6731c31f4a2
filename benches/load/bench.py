"""The bench: an origin and proxies under test that live as long as it does, and the generators that load them.

The origin and the generators share one core, the proxy under test has another. Rounds are interleaved and their order rotates,
so that what else the machine does falls on all alike.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import peers
import routes
from process import Process, busy_seconds

HERE = Path(__file__).resolve().parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parents[1] / "target"))
PROGRAMS = {name: TARGET / "release" / name for name in ["gatekeeper", *(f"examples/{name}" for name in ["bare-pingora", "load-origin", "load-steady", "load-tokens"])]}
WARM_UP = 1
# What stands for the @WORDS@ of pass-through.yaml where a case does not say otherwise.
USUAL = {"LOG": "off", "LEVEL": "warn", "TLS": "null", "H2C": "false"}
# The share of what a proxy can do at most at which its latencies are measured.
SHARE = 0.7
RUNS = 3


@dataclass
class Contender:
    """A proxy under test, and what it is asked. `anew`: on a new connection each time. `h2`: by HTTP/2. `refuses`: it is to
    refuse what it is asked. `connections`: other than the options say."""

    name: str
    process: Process
    requests: Path
    anew: bool = False
    h2: bool = False
    refuses: bool = False
    connections: int | None = None
    log: Path | None = None


@dataclass
class Row:
    """What was measured of a contender: its rounds at saturation, and its runs at a constant rate."""

    contender: Contender
    rounds: list = field(default_factory=list)
    runs: list = field(default_factory=list)
    memory: float = 0.0

    @property
    def steady(self):
        """The run whose p99 is the middle one."""
        return sorted(self.runs, key=lambda run: run["p99"])[len(self.runs) // 2] if self.runs else None

    def middle(self, figure):
        return statistics.median(measured[figure] for measured in self.rounds)

    def spread(self, figure):
        values = [measured[figure] for measured in self.rounds]
        return min(values), max(values)


class Bench:
    def __init__(self, options, cores, stack):
        self.options, self.stack = options, stack
        self.shared_core, self.proxy_core = cores
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gatekeeper-bench-")))
        self.origin = self.new_origin()

    # What is started

    def new_origin(self, *options):
        return self.start("origin", self.shared_core, [PROGRAMS["examples/load-origin"], "LISTEN", *options])

    def start(self, name, core, command, scheme="http", address=None, environment=None, h2=False):
        process = Process(name, core, [str(word) for word in command], environment or {}, scheme, address)
        self.stack.callback(process.stop)
        process.wait_until_it_listens() if h2 else process.wait_until_it_answers()
        return process

    def bare(self, name="bare Pingora", *options, requests=None, h2=False):
        command = [PROGRAMS["examples/bare-pingora"], "LISTEN", self.origin.address, *options]
        scheme = "https" if "tls" in options else "http"
        process = self.start(name, self.proxy_core, command, scheme, h2=h2)
        return Contender(name, process, requests or self.ask("/"), h2=h2)

    def gatekeeper(self, name="gatekeeper", text="", count=0, requests=None, h2=False, origins=None, **replaced):
        """`text`: configuration beside pass-through.yaml, in which `replaced` words are replaced; `count`: of routes."""
        folder = self.new_folder(name)
        log = folder / "access.log"
        targets = ", ".join(f'"http://{origin}"' for origin in origins or [self.origin.address])
        main = (HERE / "pass-through.yaml").read_text()
        for word, other in {**USUAL, "TARGETS": f"[{targets}]", **replaced}.items():
            main, text = (part.replace(f"@{word}@", str(other)) for part in (main, text))
        # With other routes, the one for everything would leave nothing unknown.
        (folder / "gatekeeper.yaml").write_text(main.replace('"/*"', '"/"') if count else main)
        (folder / "conf.d").mkdir()
        if count:
            routes.write(folder / "conf.d", count)
        if text:
            (folder / "conf.d/more.yaml").write_text(text)
        command = [PROGRAMS["gatekeeper"], "-c", folder / "gatekeeper.yaml", "run"]
        scheme = "https" if replaced.get("TLS") else "http"
        process = self.start(name, self.proxy_core, command, scheme, environment={"FOLDER": str(folder)}, h2=h2)
        return Contender(name, process, requests or self.ask("/"), h2=h2, log=log)

    def peer(self, peer, case="pass-through", name=None, requests=None, h2=False, origin=None, tls=None, **more):
        """A peer, or None if it is not installed or can't do this."""
        name = name or peers.NAMES[peer]
        lacking = peers.missing(peer, case)
        if lacking:
            print(f"{name} takes no part: {lacking}", file=sys.stderr)
            return None
        folder = self.new_folder(name)
        address = Process.free_address()
        command = peers.command(peer, case, folder, address, origin or self.origin.address, h2c=h2, tls=tls, **more)
        scheme = "https" if tls else "http"
        process = self.start(name, self.proxy_core, command, scheme, address=address, h2=h2)
        return Contender(name, process, requests or self.ask("/"), h2=h2, log=folder / "access.log")

    def new_folder(self, name):
        folder = self.folder / name.replace(" ", "-").replace(",", "")
        folder.mkdir(exist_ok=False)
        return folder

    # What is asked

    def ask(self, path, *headers, method="GET"):
        """A file of one request, asked again and again."""
        return self.ask_all([(method, path, headers)])

    def ask_all(self, requests):
        """A file of requests. At saturation they are drawn at random, at a constant rate they come in their order."""
        lines = ["\t".join([f"{method} {path}", *headers]) for method, path, headers in requests]
        file = self.folder / f"requests-{len(list(self.folder.glob('requests-*')))}"
        file.write_text("".join(line + "\n" for line in lines))
        return file

    @cached_property
    def keys(self):
        """The files of a private key for tokens, and of its public half."""
        private, public = self.folder / "private.pem", self.folder / "public.pem"
        run(["openssl", "genrsa", "-out", private, "2048"], 30)
        run(["openssl", "rsa", "-in", private, "-pubout", "-out", public], 30)
        return private, public

    def tokens(self, count):
        """Of users that are numbered, from the first on."""
        return run([PROGRAMS["examples/load-tokens"], self.keys[0], count], 120).split()

    # Loads

    def saturate(self, contender, seconds):
        """As much as it can take: the figures, and what the generator itself took of its core."""
        load = self.h2load if contender.h2 else self.wrk
        before = children_seconds()
        figures = load(contender, seconds)
        figures["generator"] = children_seconds() - before
        wrong = figures["requests"] - figures["refused"] if contender.refuses else figures["refused"]
        if figures["failed"] or wrong:
            raise SystemExit(f"{contender.name}: {figures['failed']} of {figures['requests']} requests failed, {wrong} got a wrong status")
        return figures

    def wrk(self, contender, seconds):
        command = ["wrk", "-t1", f"-c{contender.connections or self.options.connections}", f"-d{seconds}s", "-s", HERE / "wrk.lua"]
        command += ["-H", "Connection: close"] if contender.anew else []
        command += [f"{contender.process.scheme}://{contender.process.address}/", "--", contender.requests]
        told = run(command, seconds)
        line = next((line for line in told.splitlines() if line.startswith("figures ")), None)
        if line is None:
            raise SystemExit(f"wrk failed: {told}")
        return dict(zip(["requests", "micros", "failed", "refused", "p50", "p99", "p999"], map(int, line.split()[1:])))

    def h2load(self, contender, seconds):
        method, path = contender.requests.read_text().splitlines()[0].split("\t")[0].split()
        command = ["h2load", "-t1", "-c16", "-m", str(self.options.connections // 16), "-D", str(seconds), "--warm-up-time=0"]
        return h2load_figures(run([*command, f"http://{contender.process.address}{path}"], seconds))

    def steady(self, contender, rate, seconds):
        """At a constant rate, counted from when each request was due."""
        command = [PROGRAMS["examples/load-steady"], contender.process.address, contender.requests, int(rate), seconds, self.options.connections]
        figures = json.loads(run(command, seconds))
        wrong = figures["requests"] - figures["wrong"] if contender.refuses else figures["wrong"]
        return {**figures, "bad": figures["failed"] + wrong}

    def round(self, contender, seconds):
        cores = (self.shared_core, self.proxy_core)
        used = lambda: (contender.process.cpu_seconds(), self.origin.cpu_seconds(), busy_seconds(cores))
        before = used()
        figures = self.saturate(contender, seconds)
        proxy, origin, busy = (after - start for after, start in zip(used(), before))
        elapsed = figures["micros"] / 1e6
        others = max(busy - proxy - origin - figures["generator"], 0)
        shares = {"origin": origin / elapsed, "generator": figures["generator"] / elapsed, "others": others / elapsed}
        return {**figures, **shares, "cpu": proxy / figures["requests"] * 1e6, "rate": figures["requests"] / elapsed}

    def compare(self, contenders, seconds=None, steady=True, rounds=None):
        """Interleaved rounds of all, then interleaved runs of each at a constant rate."""
        contenders = [contender for contender in contenders if contender]
        seconds = seconds or self.options.seconds
        rows = [Row(contender) for contender in contenders]
        for row in rows:
            self.saturate(row.contender, WARM_UP)
        for number in range(rounds or self.options.rounds):
            first = number % len(rows)
            for row in rows[first:] + rows[:first]:
                row.rounds.append(self.round(row.contender, seconds))
        for row in rows:
            row.memory = row.contender.process.memory_mb()
        constant = [row for row in rows if steady and not (row.contender.h2 or row.contender.anew or row.contender.process.scheme == "https")]
        for _ in range(RUNS):
            for row in constant:
                row.runs.append(self.steady(row.contender, SHARE * row.middle("rate"), seconds))
        return rows


def run(command, seconds):
    told = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=seconds + 30)
    if told.returncode:
        raise SystemExit(f"{command[0]} failed: {told.stdout}{told.stderr}")
    return told.stdout


def h2load_figures(told):
    """Reads what h2load says: `finished in 2.00s, ...`, `requests: N total, ...`, `status codes: ...`, and its times."""
    words = {line.split(":")[0].strip(): line for line in told.splitlines() if ":" in line}
    seconds = next(line for line in told.splitlines() if line.startswith("finished in")).split()[2]
    counts = {word: int(number) for number, word in pairs(words["requests"].partition(":")[2])}
    codes = {word: int(number) for number, word in pairs(words["status codes"].partition(":")[2])}
    refused = codes["4xx"] + codes["5xx"]
    figures = {"requests": counts["succeeded"] + refused, "refused": refused, "failed": counts["errored"] + counts["timeout"]}
    # It tells of no percentiles.
    return {**figures, "micros": micros(seconds.rstrip(",")), "p50": 0, "p99": 0, "p999": 0}


def pairs(text):
    return (part.split()[:2] for part in text.split(","))


def micros(text):
    number = text.rstrip("mus")
    return int(float(number) * {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}[text[len(number):]])


def children_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
