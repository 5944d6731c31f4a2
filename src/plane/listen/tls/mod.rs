//! TLS of the listeners: which certificate a client is shown, what is negotiated, whom we take a client for.

pub mod certificates;
pub mod negotiation;
pub mod subject;

#[cfg(test)]
mod samples;
