"""Many routes: a third each of exact paths, captures and prefixes, as the paths of wrk.lua ask for."""

import json

PATTERNS = ["/api/v1/service{n}/status", "/api/v1/service{n}/{{id}}/items", "/api/v1/service{n}/*"]


def write(folder, count):
    """Adds them to a configuration by its conf.d. JSON is YAML."""
    (folder / "conf.d").mkdir()
    routes = [
        {"name": f"route{n}", "path_pattern": PATTERNS[n % 3].format(n=n), "target_service": "origin"}
        for n in range(count)
    ]
    (folder / "conf.d/routes.yaml").write_text(json.dumps({"routes": routes}))
