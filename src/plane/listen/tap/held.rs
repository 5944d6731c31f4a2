//! What has arrived on a connection and is not yet handed on.

use tokio::io::ReadBuf;

/// What has arrived and is not yet handed on.
#[derive(Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    /// So many of them may be handed on.
    released: usize,
}

impl Held {
    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Holds more.
    pub fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// So many bytes may be handed on.
    pub fn release(&mut self, length: usize) {
        self.released = length;
    }

    /// Whether something may be handed on.
    pub fn is_released(&self) -> bool {
        self.released > 0
    }

    /// Hands on what may be, as much as there is room for.
    pub fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let length = self.released.min(buf.remaining());
        buf.put_slice(self.bytes.get(..length).unwrap_or_default());
        self.released -= length;
        self.bytes.drain(..length);
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
    }
}
