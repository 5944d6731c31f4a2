//! What is recorded of requests: the access log and the metrics.
