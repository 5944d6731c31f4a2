//! How long each step of an exchange may take.

use std::time::Duration;

/// A route's timeouts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timeouts {
    /// For the whole exchange.
    pub total: Option<Duration>,
    /// For connecting to a target.
    pub connect: Duration,
    /// For the beginning of an answer.
    pub first_byte: Duration,
    /// For silence.
    pub idle: Duration,
    /// For the silence of an upgraded connection.
    pub websocket_idle: Duration,
    /// For an upgraded connection in all.
    pub websocket_life: Option<Duration>,
}
