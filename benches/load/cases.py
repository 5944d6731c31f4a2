"""The cases: what is compared with what. Each takes the bench and returns its outcome."""

import random
import re
import signal
import socket
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import peers
import plots
import routes
from bench import HERE, PROGRAMS, Contender

ALLOWED = "https://app.example.org"
USERS = ROUTES = 1000


@dataclass
class Outcome:
    """`tables`: a title and rows for each; `figures`: what budgets look at; `facts`: what else is told; `plots`: by name."""

    title: str
    tables: list = field(default_factory=list)
    figures: dict = field(default_factory=dict)
    facts: list = field(default_factory=list)
    plots: dict = field(default_factory=dict)

    def table(self, title, rows):
        self.tables.append((title, rows))
        bars = [(row.contender.name, row.middle("cpu"), *row.spread("cpu")) for row in rows]
        self.plots[f"cpu-{len(self.tables)}"] = plots.bars(f"CPU per request: {title}", "us", bars, rows[0].contender.name)
        first, again = rows[0], next((row for row in rows if row.contender.name == f"{rows[0].contender.name} again"), None)
        if again:
            self.figures["noise"] = abs(paired(again, first) - 1)
        lines = {row.contender.name: row.steady["distribution"] for row in rows if row.steady}
        if lines:
            drawn = plots.percentiles(f"Latency at 70 % of what each can do: {title}", "us", lines)
            self.plots[f"latency-{len(self.tables)}"] = drawn
        return {row.contender.name: row for row in rows}


def ratio(rows, one, other):
    return paired(rows[one], rows[other]) if other in rows else None


def paired(one, other):
    """The median of the rounds' ratios: what disturbs a round disturbs both."""
    return statistics.median(ours["cpu"] / theirs["cpu"] for ours, theirs in zip(one.rounds, other.rounds))


def pass_through(bench):
    outcome = Outcome("Pass-through: one route, no policies, no access log")
    others = [bench.peer(peer) for peer in ["nginx", "haproxy", "envoy"]]
    rows = bench.compare([bench.bare(), bench.gatekeeper(), *others, bench.bare("bare Pingora, timeouts", "timeouts"), bench.bare("bare Pingora, no work stealing", "alone"), bench.bare("bare Pingora again")])
    rows = outcome.table("pass-through", rows)
    outcome.figures["/ bare Pingora"] = ratio(rows, "gatekeeper", "bare Pingora")
    return outcome


# The full case

def all_of_it(bench, name="gatekeeper", log=True, origins=None):
    """A gatekeeper whose requests have to pass all there is."""
    text = (HERE / "full.yaml").read_text()
    return bench.gatekeeper(name, text, ROUTES, origins=origins, KEY=bench.keys[1], LOG="${FOLDER}/access.log" if log else "off")


def signed_in(token):
    return f"Authorization: Bearer {token}", f"Origin: {ALLOWED}"


def drawn(bench, tokens):
    """Requests of users to routes, both at random: no line of a cache stays hot for one of them."""
    chance = random.Random(1)
    return bench.ask_all([("GET", routes.path(chance.randrange(ROUTES)), signed_in(chance.choice(tokens))) for _ in range(4096)])


def full(bench):
    outcome = Outcome("Full: 1,000 routes, 1,000 users by RS256 tokens, claims told, four limits, breaker, CORS, JSON access log, metrics")
    everything, tokens = {"public_key": bench.keys[1], "routes": ROUTES}, bench.tokens(USERS)
    ours = [all_of_it(bench), all_of_it(bench, "gatekeeper, no access log", log=False)]
    theirs = [peer for peer in (bench.peer(peer, "full", **everything) for peer in ["haproxy", "envoy"]) if peer]
    token, other = tokens[:2]
    for contender in [*ours[:1], *theirs]:
        outcome.facts += probed(contender, peers.probe(contender.process.address, token, other))
    outcome.facts += who_is_told(bench, token, everything)
    contenders, asked = [bench.bare(), *ours, *theirs, bench.bare("bare Pingora again")], drawn(bench, tokens)
    for contender in contenders:
        contender.requests = asked
    rows = outcome.table("full", bench.compare(contenders))
    figures = outcome.figures
    figures["/ bare Pingora"] = ratio(rows, "gatekeeper", "bare Pingora")
    figures["/ without access log"] = ratio(rows, "gatekeeper", "gatekeeper, no access log")
    for peer in ["HAProxy", "Envoy"]:
        figures[f"/ {peer}"] = ratio(rows, "gatekeeper", peer)
    if "HAProxy" in rows:
        figures["p99 / HAProxy"] = rows["gatekeeper"].steady["p99"] / rows["HAProxy"].steady["p99"]
    outcome.facts.append(logged(bench, rows["gatekeeper"].contender))
    for peer in ["haproxy", "envoy", "nginx"]:
        outcome.facts += [f"{peers.NAMES[peer]}: {difference}" for difference in peers.DIFFERENCES[peer]]
    return outcome


def one_user(bench):
    outcome = Outcome("One user: 1,000 routes, an RS256 token that was seen before, claims told, four limits, breaker, CORS; no access log")
    bare, ours, again = contenders = [bench.bare(), all_of_it(bench, log=False), bench.bare("bare Pingora again")]
    asked = drawn(bench, bench.tokens(1))
    for contender in contenders:
        contender.requests = asked
    # Many short rounds: what disturbs the machine comes and goes in seconds.
    rows = outcome.table("one-user", bench.compare(contenders, 1, steady=False, rounds=2 * bench.options.rounds))
    outcome.figures["/ bare Pingora"] = ratio(rows, "gatekeeper", "bare Pingora")
    rate = 20_000
    pairs = [(costs(bench, bare, rate, 2), costs(bench, ours, rate, 2)) for _ in range(bench.options.rounds)]
    outcome.figures["at a constant rate / bare Pingora"] = statistics.median(mine / theirs for theirs, mine in pairs)
    told = ", ".join(f"{mine:.1f} / {theirs:.1f}" for theirs, mine in pairs)
    outcome.facts.append(f"At a constant {rate:,} requests/s, the same for both, us of CPU a request, gatekeeper / bare Pingora: {told}.")
    return outcome


def who_is_told(bench, token, everything):
    """Nobody can say to be someone else: seen by an origin that tells what it was sent."""
    with peers.echo() as origin:
        told = [all_of_it(bench, "gatekeeper, told", origins=[origin])]
        told += [bench.peer(peer, "full", f"{peers.NAMES[peer]}, told", origin=origin, **everything) for peer in ["haproxy", "envoy"]]
        told = [contender for contender in told if contender]
        facts = [fact for contender in told for fact in probed(contender, peers.probe_identity(contender.process.address, token))]
        for contender in told:
            contender.process.stop()
    return facts


def probed(contender, checks):
    failed = [f"{contender.name} does not pass the probe: {check} (seen: {seen})" for check, passed, seen in checks if not passed]
    if failed and contender.name.startswith("gatekeeper"):
        raise SystemExit("\n".join(failed))
    return failed or [f"{contender.name} passes all {len(checks)} checks of the probe."]


def logged(bench, contender):
    """Every request has its line: counted where none is cut off by the end of a run."""
    lines = lambda: sum(1 for _ in contender.log.open("rb"))
    time.sleep(1)
    before = lines()
    told = bench.steady(contender, 5000, 2)
    time.sleep(1)
    if lines() - before != told["requests"]:
        raise SystemExit(f"{told['requests']} requests, but {lines() - before} lines in the access log")
    return f"{told['requests']} requests at a constant rate wrote {lines() - before} lines of the access log."


def refusals(bench):
    outcome = Outcome("Refusals: an unknown path, a forged token, a limit that is used up, a preflight")
    ours = all_of_it(bench, log=False)
    token, other = bench.tokens(2)
    path = routes.path(0)
    asked = {
        "404, unknown path": ("GET", "/nowhere", signed_in(token)),
        "401, no token": ("GET", path, (f"Origin: {ALLOWED}",)),
        "429, used up": ("GET", "/limited", signed_in(token)),
        "204, preflight": ("OPTIONS", path, (f"Origin: {ALLOWED}", "Access-Control-Request-Method: PUT")),
    }
    # Who forges many tokens is soon refused without a look at them: that is measured, not the verification.
    forged = {"forged tokens": ("GET", path, signed_in(f"{token.rpartition('.')[0]}.{other.rpartition('.')[2]}"))}
    bare, again = bench.bare(requests=bench.ask(path, *signed_in(token))), bench.bare("bare Pingora again", requests=bench.ask(path, *signed_in(token)))
    contenders = [Contender(name, ours.process, bench.ask_all([request]), refuses=not name.startswith("204")) for name, request in {**asked, **forged}.items()]
    for _ in range(3):
        peers.ask(ours.process.address, "GET", "/limited", {"Authorization": f"Bearer {token}"})
    rows = outcome.table("refusals", bench.compare([bare, *contenders, again], 1, steady=False))
    for name, (method, place, headers) in asked.items():
        status = peers.ask(ours.process.address, method, place, dict(header.split(": ", 1) for header in headers))[0]
        if not name.startswith(str(status)):
            raise SystemExit(f"{name}: answered with {status}")
    outcome.figures["/ bare Pingora"] = max(ratio(rows, name, "bare Pingora") for name in asked)
    return outcome


def new_tokens(bench):
    outcome = Outcome("Tokens never seen before: each signature has to be verified (RS256, 2048 bits)")
    ours, rate, seconds = all_of_it(bench, log=False), 4000, 4
    tokens = bench.tokens(rate * seconds + USERS)
    ours.requests = drawn(bench, tokens[:USERS])
    bench.saturate(ours, 2)
    known = costs(bench, ours, rate, seconds)
    # Each is asked with once.
    ours.requests = bench.ask_all([("GET", routes.path(n % ROUTES), signed_in(token)) for n, token in enumerate(tokens[USERS:])])
    new = costs(bench, ours, rate, seconds)
    outcome.figures["us more"] = new - known
    outcome.facts.append(f"at {rate} requests/s: {known:.1f} us of CPU a request with tokens seen before, {new:.1f} us with new ones")
    return outcome


def costs(bench, contender, rate, seconds):
    """CPU microseconds per request at a constant rate."""
    before = contender.process.cpu_seconds()
    told = bench.steady(contender, rate, seconds)
    if told["bad"]:
        raise SystemExit(f"{contender.name}: {told['bad']} of {told['requests']} requests failed")
    return (contender.process.cpu_seconds() - before) / told["requests"] * 1e6


def many_routes(bench):
    outcome = Outcome("Routes: 10, 1,000 and 100,000 of them, drawn at random")
    of = lambda name, count: bench.gatekeeper(name, count=count, requests=bench.ask_all([("GET", routes.path(n), ()) for n in sample(count)]))
    contenders = [of(f"{count:,} routes", count) for count in [10, 1000, 100_000]] + [of("10 routes again", 10)]
    rows = outcome.table("routes", bench.compare(contenders, steady=False))
    outcome.figures["/ 10 routes"] = ratio(rows, "100,000 routes", "10 routes")
    return outcome


def sample(count):
    return range(count) if count <= 4096 else random.Random(1).sample(range(count), 4096)


def bodies(bench):
    outcome = Outcome("Bodies of responses: 1 KB, 100 KB, 1 MB, 10 MB")
    contenders = [bench.bare(), bench.gatekeeper(), *(bench.peer(peer) for peer in ["nginx", "haproxy", "envoy"])]
    contenders = [contender for contender in contenders if contender]
    for name, size in [("1 KB", 1000), ("100 KB", 100_000), ("1 MB", 1_000_000), ("10 MB", 10_000_000)]:
        for contender in contenders:
            contender.requests = bench.ask(f"/bytes/{size}")
            # What is cut off at a round's end is work that no request stands for: it must be little.
            contender.connections = 8 if size >= 1_000_000 else None
        rows = outcome.table(f"a body of {name}", bench.compare(contenders, 1, steady=False))
        if "nginx" in rows:
            outcome.figures[f"/ nginx, {name}"] = ratio(rows, "gatekeeper", "nginx")
    return outcome


def http2(bench):
    outcome = Outcome("HTTP/2 in clear text, 16 connections of four streams each")
    theirs = [bench.peer(peer, h2=True) for peer in ["nginx", "haproxy", "envoy"]]
    contenders = [bench.bare("bare Pingora", "h2c", h2=True), bench.gatekeeper(h2=True, H2C="true"), *theirs]
    rows = outcome.table("HTTP/2", bench.compare(contenders, steady=False))
    outcome.figures["/ bare Pingora"] = ratio(rows, "gatekeeper", "bare Pingora")
    return outcome


# TLS

def over_tls(bench, anew):
    """All with one certificate, P-256, and what else they negotiate by themselves."""
    cert, key = bench.folder / "tls.pem", bench.folder / "tls.key"
    request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    command = request.split() + ["-addext", "subjectAltName=DNS:localhost", "-out", cert, "-keyout", key]
    subprocess.run(command, check=True, capture_output=True)
    bare = lambda name: bench.bare(name, "tls", cert, key)
    ours = bench.gatekeeper(TLS=f"{{ certificates: [{{ cert: {cert}, key: {key} }}] }}")
    theirs = [bench.peer(peer, tls=(cert, key)) for peer in ["nginx", "haproxy", "envoy"]]
    contenders = [contender for contender in [bare("bare Pingora"), ours, *theirs, bare("bare Pingora again")] if contender]
    for contender in contenders:
        contender.anew = anew
    return contenders


def tls(bench):
    outcome = Outcome("TLS, connections kept")
    rows = outcome.table("TLS", bench.compare(over_tls(bench, anew=False)))
    outcome.figures["/ bare Pingora"] = ratio(rows, "gatekeeper", "bare Pingora")
    return outcome


def handshakes(bench):
    outcome = Outcome("TLS, a handshake for each request")
    rows = outcome.table("handshakes", bench.compare(over_tls(bench, anew=True)))
    outcome.figures["/ bare Pingora"] = ratio(rows, "gatekeeper", "bare Pingora")
    return outcome


# What is no comparison of requests

IDLE = 5000


def idle(bench):
    outcome = Outcome(f"{IDLE:,} idle keep-alive connections, each after one request")
    contenders = [bench.gatekeeper(), bench.bare(), *(bench.peer(peer) for peer in ["nginx", "haproxy", "envoy"])]
    bars = []
    for contender in (contender for contender in contenders if contender):
        # What the first connections bring about is not theirs.
        warm = opened(contender, 200)
        before = contender.process.memory_mb()
        connections = opened(contender, IDLE)
        time.sleep(0.5)
        each = (contender.process.memory_mb() - before) * 1024 / IDLE
        for connection in warm + connections:
            connection.close()
        bars.append((contender.name, each, each, each))
        outcome.facts.append(f"{contender.name}: {each:.1f} KB a connection")
        outcome.figures.setdefault("KB a connection", each)
    outcome.plots["memory"] = plots.bars("Memory of an idle connection", "KB", bars, "gatekeeper")
    return outcome


def opened(contender, count):
    host, port = contender.process.address.split(":")
    connections = []
    for _ in range(count):
        connection = socket.create_connection((host, int(port)), timeout=5)
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {contender.process.address}\r\n\r\n".encode())
        connections.append(connection)
        while not connection.recv(4096).endswith(b"x"):
            pass
    return connections


SUBJECTS = 1_000_000


def limiter(bench):
    """By the bench of the core, without a proxy."""
    outcome = Outcome("The limiter alone: a decision, and the memory of a subject that asked once, with 1,000,000 subjects")
    told = cores(bench, "1 rule, 1000000 subjects")
    outcome.figures["ns a decision"] = nanoseconds(told)
    memory = cores(bench, "--memory", "1")
    outcome.figures["bytes a subject"] = float(re.search(r"each: (\d+) bytes per subject", memory)[1])
    outcome.facts += [memory.strip().splitlines()[-1], f"{outcome.figures['ns a decision']:.0f} ns a decision"]
    return outcome


def router(bench):
    """Likewise."""
    outcome = Outcome("The router alone")
    for count in [10, 1000, 100_000]:
        outcome.figures[f"ns, {count} routes"] = nanoseconds(cores(bench, f"find/hit/{count}$"))
    outcome.facts += [f"{name}: {figure:.0f}" for name, figure in outcome.figures.items()]
    return outcome


def cores(bench, *arguments):
    """What the benches of the cores say, on the proxy's core."""
    command = ["taskset", "-c", str(bench.proxy_core), "cargo", "bench", "--quiet", "--locked", "--bench", "cores", "--", *arguments]
    told = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, timeout=600)
    if told.returncode:
        raise SystemExit(f"the benches of the cores failed: {told.stdout}{told.stderr}")
    return told.stdout


def nanoseconds(told):
    """The middle of criterion's `time: [98.1 ns 98.4 ns 98.9 ns]`."""
    number, unit = re.search(r"time:\s+\[\S+ \S+ (\S+) (\S+) ", told).groups()
    return float(number) * {"ps": 1e-3, "ns": 1, "µs": 1e3, "us": 1e3, "ms": 1e6}[unit]


def subjects(bench):
    outcome = Outcome("1,000,000 limited subjects through the proxy")
    text = "rate_limits: [{ rule_name: many, limit_type: 'header:X-Subject', max_requests: 1000, window_seconds: 3600, max_subjects: 2000000 }]\n"
    ours = bench.gatekeeper(text=text)
    before, sent, began = ours.process.memory_mb(), 0, ours.process.cpu_seconds()
    pace = 50_000
    while sent < SUBJECTS:
        ours.requests = bench.ask_all([("GET", "/", (f"X-Subject: {n}",)) for n in range(sent, sent + pace)])
        told = bench.steady(ours, 20_000, pace / 20_000)
        if told["bad"]:
            raise SystemExit(f"{told['bad']} requests failed")
        sent += told["requests"]
    each = (ours.process.memory_mb() - before) * 2**20 / sent
    outcome.figures |= {"bytes a subject": each, "us a request": (ours.process.cpu_seconds() - began) / sent * 1e6}
    outcome.facts.append(f"{sent:,} subjects: {each:.0f} bytes each, {outcome.figures['us a request']:.1f} us of CPU a request at 20,000 requests/s")
    return outcome


COUNT = 10_000


def reload(bench):
    outcome = Outcome(f"{COUNT:,} routes: the start with them, and reloads under load")
    asked = bench.ask_all([("GET", routes.path(n), ()) for n in sample(COUNT)])
    ours = bench.gatekeeper(count=COUNT, requests=asked, LEVEL="info")
    outcome.figures["ms to start"] = ours.process.seconds_to_answer * 1000

    def again():
        times = []
        for _ in range(4):
            time.sleep(2)
            ours.process.child.send_signal(signal.SIGHUP)
            times.append(ours.process.says(r"built in (\d+) ms"))
        return times

    alone = again()
    told, loaded = beside(again, lambda: bench.steady(ours, 5000, 10))
    outcome.figures |= {"failed": told["bad"], "ms to build": statistics.median(map(float, alone))}
    outcome.facts += [
        f"{told['requests']} requests at 5,000/s over {len(loaded)} reloads: {told['bad']} failed, p99 {told['p99']} us, longest {told['max']} us",
        f"a reload, from reading the file to serving: {', '.join(alone)} ms without a load, {', '.join(loaded)} ms under it, on the core that serves",
        f"from the start of the process to its first answer: {outcome.figures['ms to start']:.0f} ms",
    ]
    return outcome


def beside(other, load):
    """Does something else while a load runs: what both came to."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(other)
        told = load()
        return told, done.result()


def dying(bench):
    outcome = Outcome("One of three targets dies under load, and comes back")
    origins = [bench.origin, bench.new_origin(), bench.new_origin()]
    ours = bench.gatekeeper(origins=[origin.address for origin in origins], requests=bench.ask_all([("GET", "/", ()), ("GET", "/bytes/1000", ())]))

    def upheaval():
        time.sleep(2)
        origins[2].child.kill()
        origins[2].child.wait()
        time.sleep(4)
        bench.start("origin", bench.shared_core, [PROGRAMS["examples/load-origin"], "LISTEN"], address=origins[2].address)

    told, _ = beside(upheaval, lambda: bench.steady(ours, 5000, 10))
    outcome.figures["failed"] = told["bad"]
    outcome.facts.append(f"{told['requests']} requests at 5,000/s: {told['bad']} failed, p99 {told['p99']} us, p99.9 {told['p999']} us, longest {told['max']} us")
    return outcome


def soak(bench):
    seconds = bench.options.soak
    outcome = Outcome(f"Soak: the full case for {seconds} s at 15,000 requests/s")
    ours = all_of_it(bench)
    ours.requests = drawn(bench, bench.tokens(USERS))
    course = []

    def watch():
        for second in range(0, seconds, 2):
            course.append((second, ours.process.memory_mb()))
            time.sleep(2)

    told, _ = beside(watch, lambda: bench.steady(ours, 15_000, seconds))
    half = course[len(course) // 2][1]
    outcome.figures |= {"failed": told["bad"], "MB grown in the second half": course[-1][1] - half}
    outcome.plots["memory"] = plots.course("Memory over the soak", "MB", course)
    outcome.facts.append(
        f"{told['requests']:,} requests: {told['bad']} failed, p50 {told['p50']} us, p99 {told['p99']} us, p99.9 {told['p999']} us; "
        f"memory {half:.1f} MB at half-time, {course[-1][1]:.1f} MB at the end"
    )
    return outcome


def generator(bench):
    """Whether the generator of constant rates tells what a client would feel."""
    outcome = Outcome("The generator itself: an origin that stands still for 1 s of every 5")
    frozen = bench.new_origin("freeze")
    contender = Contender("frozen origin", frozen, bench.ask("/"))
    told = bench.steady(contender, 2000, 15)
    # A fifth of the requests waits, evenly, up to a second: the worst 1 % waits 0.95 s or more.
    outcome.figures["p99 of 950 ms"] = told["p99"] / 950_000
    outcome.facts.append(f"at 2,000 requests/s: p50 {told['p50']} us, p99 {told['p99'] / 1000:.0f} ms, longest {told['max'] / 1000:.0f} ms")
    if not 0.9 < outcome.figures["p99 of 950 ms"] < 1.1:
        raise SystemExit(f"the generator of constant rates is wrong: p99 is {told['p99']} us, not about 950,000")
    return outcome


def quick(bench):
    """What a developer wants to know after a change: not written to the report."""
    outcome = Outcome("Quick: the full case against bare Pingora, the limiter, the router")
    contenders, asked = [bench.bare(), all_of_it(bench), bench.bare("bare Pingora again")], drawn(bench, bench.tokens(USERS))
    for contender in contenders:
        contender.requests = asked
    rows = outcome.table("full", bench.compare(contenders, 1, steady=False))
    outcome.figures["/ bare Pingora"] = ratio(rows, "gatekeeper", "bare Pingora")
    outcome.figures |= {f"limiter, {name}": figure for name, figure in limiter(bench).figures.items()}
    outcome.figures |= {f"router, {name}": figure for name, figure in router(bench).figures.items()}
    outcome.facts += [f"{name}: {figure:.3g}" for name, figure in outcome.figures.items()]
    return outcome


CASES = {
    "generator": generator,
    "pass-through": pass_through,
    "full": full,
    "one-user": one_user,
    "refusals": refusals,
    "new-tokens": new_tokens,
    "routes": many_routes,
    "bodies": bodies,
    "http2": http2,
    "tls": tls,
    "handshakes": handshakes,
    "idle": idle,
    "limiter": limiter,
    "subjects": subjects,
    "reload": reload,
    "dying": dying,
    "soak": soak,
}
