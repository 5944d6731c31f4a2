//! What a task waits for on its client's side.

use std::cell::Cell;
use std::sync::Arc;

use crate::listen::connection::Connection;

/// What the task waits for on its client's side.
#[derive(Default)]
pub(super) struct Client {
    /// It is one of several on a connection that others read and write.
    pub is_shared: bool,
    /// More of a body is wanted.
    pub asked: Cell<bool>,
    /// What was written is not taken.
    pub full: Cell<bool>,
    /// The stream's connection.
    connection: Option<Arc<Connection>>,
    /// What the connection's client had taken when the stream was last woken.
    taken: Cell<u64>,
}

impl Client {
    /// The client of a stream of HTTP/2.
    pub fn of_stream(connection: Option<Arc<Connection>>) -> Self {
        Client { is_shared: true, connection, ..Client::default() }
    }

    /// The stream was woken. Whether its client took something, as far as that can be known.
    pub fn takes(&self) -> bool {
        let taken = self.connection.as_ref().map_or(0, |connection| connection.taken());
        taken > self.taken.replace(taken)
    }

    /// The task goes on; what it waits for shows when it waits again.
    pub fn go_on(&self) {
        self.asked.set(false);
        self.full.set(false);
    }
}
