//! Short forms: what a person may leave out, filled in before the tree is decoded.
//!
//! A service may be nothing but its URL. A route without a name has its pattern as its name.

use super::map::Map;
use super::node::Node;

/// Writes the short forms of these sections out.
pub fn expand(sections: &mut Map<Node>) {
    if let Some(Node::Map(services)) = sections.get_mut("services") {
        services.iter_mut().for_each(|(_, service)| expand_service(service));
    }
    if let Some(Node::List(routes)) = sections.get_mut("routes") {
        routes.iter_mut().for_each(|route| name_route(route, None));
    }
}

/// Writes a service out that is nothing but its URL.
pub fn expand_service(service: &mut Node) {
    if let Node::Text(_) = service {
        let url = std::mem::replace(service, Node::Null);
        *service = Node::Map(Map::new(vec![("targets".into(), Node::List(vec![url]))], |_| {}));
    }
}

/// Gives a route without a name this one, or else its pattern.
pub fn name_route(route: &mut Node, name: Option<&str>) {
    let Node::Map(route) = route else { return };
    let is_named = matches!(route.get("name"), Some(name) if *name != Node::Null);
    let name = match (is_named, name, route.get("path_pattern")) {
        (false, Some(name), _) => Node::text(name),
        (false, None, Some(pattern @ Node::Text(_))) => pattern.clone(),
        _ => return,
    };
    route.insert("name", name);
}

#[cfg(test)]
mod tests {
    use crate::parse;

    #[test]
    fn a_service_may_be_its_url_and_a_route_its_pattern() {
        let text = "version: 1\nservices: { app: http://127.0.0.1:3000 }\n\
                    routes: [{ path_pattern: /*, target_service: app }, { name: , path_pattern: /x, target_service: app }]\n";
        let (loaded, faults) = parse(text);
        assert_eq!(faults.to_string(), "");
        let config = loaded.unwrap().config;
        assert_eq!(config.services["app"].targets[0].url(), "http://127.0.0.1:3000");
        let names: Vec<_> = config.routes.iter().map(|route| route.name.as_str()).collect();
        assert_eq!(names, ["/*", "/x"]);
    }

    #[test]
    fn two_routes_without_a_name_may_not_share_their_pattern() {
        let route = "{ path_pattern: /a, respond: { status: 204 } }";
        let (_, faults) = parse(&format!("version: 1\nroutes: [{route}, {route}]\n"));
        assert!(faults.to_string().contains("the route name \"/a\" is used twice"), "{faults}");
    }

    #[test]
    fn what_is_missing_beside_a_name_is_told_once() {
        let (_, faults) = parse("version: 1\nroutes: [{ target_url: \"http://127.0.0.1:1\" }]\n");
        assert_eq!(faults.to_string(), "routes[0].path_pattern: missing; this key is required\n");
    }
}
