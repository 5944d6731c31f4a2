//! How often a client may come (SEMANTICS 5).
