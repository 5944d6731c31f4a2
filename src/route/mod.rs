//! Route choice: from a request's host, path, method, headers and query to one route.
