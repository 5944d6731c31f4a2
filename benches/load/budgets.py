"""What is asked of gatekeeper: figures of cases, what they must be at most, and what they had better be."""

from dataclasses import dataclass


@dataclass
class Budget:
    what: str
    case: str
    figure: str
    must: float
    wanted: float
    unit: str = ""


BUDGETS = [
    Budget("pass-through / bare Pingora, CPU", "pass-through", "/ bare Pingora", 1.05, 1.00),
    Budget("full / bare Pingora, CPU", "full", "/ bare Pingora", 1.20, 1.10),
    Budget("one user, no access log / bare Pingora, CPU", "one-user", "/ bare Pingora", 1.25, 1.10),
    Budget("the same, 20,000 requests/s asked of both", "one-user", "at a constant rate / bare Pingora", 1.25, 1.10),
    Budget("full / HAProxy with the same policies, CPU", "full", "/ HAProxy", 0.60, 0.50),
    Budget("full / Envoy with the same policies, CPU", "full", "/ Envoy", 0.40, 0.33),
    Budget("refusal / bare Pingora, CPU, the dearest", "refusals", "/ bare Pingora", 0.60, 0.45),
    Budget("100,000 routes / 10 routes, CPU", "routes", "/ 10 routes", 1.03, 1.00),
    Budget("full with access log / without, CPU", "full", "/ without access log", 1.06, 1.03),
    Budget("1 MB response body / nginx, CPU", "bodies", "/ nginx, 1 MB", 1.60, 1.20),
    Budget("idle keep-alive connection", "idle", "KB a connection", 40, 16, "KB"),
    Budget("limiter decision at 1,000,000 subjects", "limiter", "ns a decision", 250, 100, "ns"),
    Budget("limiter memory per light subject", "limiter", "bytes a subject", 100, 64, "B"),
    Budget("plan of 10,000 routes built", "reload", "ms to build", 200, 50, "ms"),
    Budget("failed requests over reloads", "reload", "failed", 0, 0),
    Budget("failed requests, one upstream of three dying", "dying", "failed", 0, 0),
    Budget("p99 at 70 % of saturation / HAProxy's", "full", "p99 / HAProxy", 2.0, 1.2),
    Budget("start to first answer, 10,000 routes", "reload", "ms to start", 500, 150, "ms"),
]


def verdict(budget, figures):
    measured = figures.get(budget.figure)
    if measured is None:
        return "not measured"
    # What bare Pingora differs from itself by, gatekeeper may differ by for no reason.
    unsure = budget.unit == "" and budget.must and abs(measured - budget.must) <= figures.get("noise", 0) * measured
    said = "as wanted" if measured <= budget.wanted else "kept" if measured <= budget.must else "**missed**"
    return f"{said}, within the noise" if unsure else said
