"""Many routes: a third each of exact paths, captures and prefixes; and paths that take them."""

import json

PATTERNS = ["/api/v1/service{n}/status", "/api/v1/service{n}/{{id}}/items", "/api/v1/service{n}/*"]
PATHS = ["/api/v1/service{n}/status", "/api/v1/service{n}/42/items", "/api/v1/service{n}/some/deep/path"]


def write(folder, count):
    """Adds them to a configuration by its conf.d. JSON is YAML."""
    routes = [
        {"name": f"route{n}", "path_pattern": PATTERNS[n % 3].format(n=n), "target_service": "origin"}
        for n in range(count)
    ]
    (folder / "routes.yaml").write_text(json.dumps({"routes": routes}))


def path(n):
    """One that takes the route of this number."""
    return PATHS[n % 3].format(n=n)
