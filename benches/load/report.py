"""The reports: one of each case, in Markdown with plots, and one of all, with the budgets."""

import json
import os
import platform
import re
import subprocess
from datetime import date
from pathlib import Path

import peers
from budgets import BUDGETS, verdict

ROOT = Path(__file__).resolve().parents[2]
# Above this, what is measured is the core of the origin and the generator.
FULL = 0.9
# Above this, what is measured is the rest of the machine, too.
DISTURBED = 0.1

COLUMNS = ["", "CPU us/request", "/ first", "requests/s", "p50 us", "p99 us", "p99.9 us", "memory MB", "origin CPU", "generator CPU", "others", "marked"]
STEADY = ["at 70 % of what each can do", "requests/s", "p50 us", "p99 us", "p99.9 us", "longest us", "late us", "failed"]

NOTES = """Medians of the rounds, in brackets the lowest and the highest. CPU: user and system time of the proxy's process by the
requests completed. Budgets look at the median of the rounds' ratios. What ends in `again` is the first once more: its ratio is the
noise floor. Bare Pingora has mimalloc as its crate gives it and the framework's usual runtime; gatekeeper with one thread has the
runtime without work stealing, and spares itself a detour on the way to mimalloc. The latencies of the first table are
those of a closed loop at saturation: they compare, they do not promise. Those at a constant rate are counted from when each
request was due, whether or not there was a connection to send it on; `late` is the 99th percentile of how late the generator
itself was; of three runs, the one with the middle p99. A round is marked if the origin or the generator takes more
than 90 % of the core they share, or if the rest of the machine takes more than 10 % of both.
"""


def write(folder, case, outcome, options):
    """Writes a case's report and its plots, and keeps its figures for the report of all."""
    for name, plot in outcome.plots.items():
        (folder / f"{case}-{name}.svg").write_text(plot)
    text = markdown(case, outcome, options)
    (folder / f"{case}.md").write_text(text)
    kept = figures(folder)
    kept[case] = {"title": outcome.title, "measured": str(date.today()), "of": version(), "figures": outcome.figures}
    (folder / "figures.json").write_text(json.dumps(kept, indent=1) + "\n")
    (folder / "README.md").write_text(summary(kept))
    return text


def figures(folder):
    file = folder / "figures.json"
    return json.loads(file.read_text()) if file.exists() else {}


def markdown(case, outcome, options):
    parts = [f"# {outcome.title}"]
    for title, rows in outcome.tables:
        # Tables of several sizes share what stands above them.
        parts += [f"## {title}"] if len(outcome.tables) > 1 else []
        parts.append(table([COLUMNS, *(saturated(row, rows[0]) for row in rows)]))
        steady = [row for row in rows if row.steady]
        parts += [table([STEADY, *map(constant, steady)])] if steady else []
    parts += ["\n".join(f"* {fact}" for fact in outcome.facts)] if outcome.facts else []
    parts += [f"![{name}]({case}-{name}.svg)" for name in outcome.plots]
    parts += [NOTES.strip()] if outcome.tables else []
    again = f"`make bench CASE={case}`"
    settings = f"* {again}: {options.rounds} rounds of {options.seconds} s (some cases: 1 s; one-user: twice as many of 1 s), {options.connections} connections, one thread"
    parts.append("\n".join([settings, *(f"* {line}" for line in machine())]))
    return "\n\n".join(parts) + "\n"


def table(rows):
    rows = [rows[0], ["---"] + ["---:"] * (len(rows[0]) - 1), *rows[1:]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def saturated(row, first):
    cpu, (lowest, highest) = row.middle("cpu"), row.spread("cpu")
    tail = lambda figure: f"{row.middle(figure):.0f}" if row.middle(figure) else ""
    return [
        row.contender.name,
        f"{cpu:.2f} ({lowest:.2f} .. {highest:.2f})",
        f"{cpu / first.middle('cpu'):.3f}",
        f"{row.middle('rate'):,.0f}",
        *map(tail, ["p50", "p99", "p999"]),
        f"{row.memory:.1f}",
        *(f"{row.middle(figure):.0%}" for figure in ["origin", "generator", "others"]),
        f"{sum(map(is_marked, row.rounds))} of {len(row.rounds)}",
    ]


def constant(row):
    told = row.steady
    return [row.contender.name, f"{told['rate']:,.0f}", *(f"{told[name]:.0f}" for name in ["p50", "p99", "p999", "max", "lag_us"]), str(told["bad"])]


def is_marked(measured):
    return measured["origin"] + measured["generator"] > FULL or measured["others"] > DISTURBED


def summary(kept):
    rows = [["budget", "must be", "wanted", "measured", "noise", ""]]
    for budget in BUDGETS:
        found = kept.get(budget.case, {}).get("figures", {})
        measured, noise = found.get(budget.figure), found.get("noise") if budget.unit == "" and budget.must else None
        say = lambda number: f"{number:g} {budget.unit}".strip()
        shown = "" if measured is None else f"{measured:.3g} {budget.unit}".strip()
        rows.append([f"[{budget.what}]({budget.case}.md)", say(budget.must), say(budget.wanted), shown, "" if noise is None else f"{noise:.1%}", verdict(budget, found)])
    cases = [["case", "measured", "of"]]
    cases += [[f"[{of_case['title']}]({case}.md)", of_case["measured"], of_case["of"]] for case, of_case in kept.items()]
    head = "# What gatekeeper costs\n\nMeasured by `make bench` on one machine, one core for the proxy; ratios travel better than figures."
    return "\n\n".join([head, table(rows), "## Cases", table(cases), "\n".join(f"* {line}" for line in machine())]) + "\n"


def machine():
    cpu = re.search(r"model name\s*: (.*)", read("/proc/cpuinfo"))
    memory = int(re.search(r"MemTotal:\s*(\d+)", read("/proc/meminfo"))[1]) / 2**20
    pingora = re.search(r'name = "pingora-proxy"\nversion = "(.*)"', read(ROOT / "Cargo.lock"))
    siblings = read("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list").strip()
    return [
        f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores (threads of core 0: {siblings or '?'}), {memory:.0f} GB",
        f"Linux {platform.release()}",
        f"gatekeeper {version()}, Pingora {pingora[1] if pingora else '?'}, {said('rustc', '--version')}",
        "; ".join([said("wrk", "-v"), said("h2load", "--version"), *map(peers.version, peers.NAMES)]),
    ]


def version():
    changed = said("git", "status", "--porcelain", "--", ".", ":!benches/load/report")
    return said("git", "describe", "--always") + ("-dirty" if changed else "")


def read(path):
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def said(*command):
    """The first line a command says, whatever it thinks of being asked."""
    try:
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10)
    except OSError:
        return f"{command[0]} ?"
    return (told.stdout + told.stderr).strip().partition("\n")[0]
