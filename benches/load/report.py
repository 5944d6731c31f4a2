"""The report of a case: a Markdown table of medians, and what they were measured on."""

import os
import platform
import re
import statistics
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Above this, what is measured is the core of the origin and the generator.
FULL = 0.9
# Above this, what is measured is the rest of the machine, too.
DISTURBED = 0.1

COLUMNS = [
    "", "CPU us/request", "/ first", "requests/s", "p50 us", "p99 us", "memory MB",
    "origin CPU", "generator CPU", "sum", "others", "rounds marked",
]


def markdown(case, contenders, rounds, settings):
    """`rounds`: for each contender's name the rounds it ran."""
    first = middle(rounds[contenders[0].name], "cpu")
    rows = [COLUMNS, ["---"] + ["---:"] * (len(COLUMNS) - 1)]
    rows += [row(contender, rounds[contender.name], first) for contender in contenders]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    return f"# {case}\n\n{table}\n\n{NOTES}\n{settings}\n{machine()}\n"


NOTES = """Medians of the rounds, in brackets the lowest and the highest. CPU: user and system time of the proxy's process, by the
requests completed. The last is the first once more: its ratio is the noise floor. The latencies are those of
a closed loop at saturation: they compare, they do not promise. `sum` is the load of the core that the origin and the generator
share, `others` the load of both cores that is none of the three's. A round is marked if the sum is above 90 % or the others take
more than 10 %: where others work, figures and ratios rise (what is sent must wake a sleeping core more often).
"""


def row(contender, rounds, first):
    cpu, origin, generator = middle(rounds, "cpu"), middle(rounds, "origin"), middle(rounds, "generator")
    lowest, highest = min(r["cpu"] for r in rounds), max(r["cpu"] for r in rounds)
    return [
        contender.name,
        f"{cpu:.2f} ({lowest:.2f} .. {highest:.2f})",
        f"{cpu / first:.3f}",
        f"{middle(rounds, 'rate'):,.0f}",
        f"{middle(rounds, 'p50'):.0f}",
        f"{middle(rounds, 'p99'):.0f}",
        f"{contender.process.memory_mb():.1f}",
        f"{origin:.0%}",
        f"{generator:.0%}",
        f"{origin + generator:.0%}",
        f"{middle(rounds, 'others'):.0%}",
        str(sum(is_marked(r) for r in rounds)),
    ]


def is_marked(measured):
    return measured["origin"] + measured["generator"] > FULL or measured["others"] > DISTURBED


def middle(rounds, figure):
    return statistics.median(r[figure] for r in rounds)


def machine():
    cpu = re.search(r"model name\s*: (.*)", read("/proc/cpuinfo"))
    memory = int(re.search(r"MemTotal:\s*(\d+)", read("/proc/meminfo"))[1]) / 2**20
    pingora = re.search(r'name = "pingora-proxy"\nversion = "(.*)"', read(ROOT / "Cargo.lock"))
    siblings = read("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list").strip()
    lines = [
        f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores (threads of core 0: {siblings or '?'}), {memory:.0f} GB",
        f"Linux {platform.release()}",
        f"gatekeeper {said('git', 'describe', '--always', '--dirty')}, Pingora {pingora[1] if pingora else '?'}, "
        f"{said('rustc', '--version')}",
        said("wrk", "-v"),
    ]
    return "\n".join(f"* {line}" for line in lines)


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
