//! Why connections are closed before their first request.

/// Why a connection is closed before its first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// Its address has as many as it may have.
    ConnectionsPerAddress,
    /// Its PROXY header or its TLS handshake took too long.
    HandshakeTimeout,
    /// Its TLS handshake failed.
    TlsHandshake,
    /// It began without TLS where TLS is spoken.
    PlainHttp,
    /// It began with a wrong PROXY header, or none.
    ProxyProtocol,
    /// Its listener asks for something else since a reload.
    ListenerChanged,
    /// It could not be accepted.
    AcceptFailed,
    /// The administration has as many as it takes.
    AdministrationFull,
}

impl TurnedAway {
    /// All of them.
    pub const ALL: [TurnedAway; 8] = [
        TurnedAway::ConnectionsPerAddress,
        TurnedAway::HandshakeTimeout,
        TurnedAway::TlsHandshake,
        TurnedAway::PlainHttp,
        TurnedAway::ProxyProtocol,
        TurnedAway::ListenerChanged,
        TurnedAway::AcceptFailed,
        TurnedAway::AdministrationFull,
    ];

    /// The label of its counter.
    pub fn name(self) -> &'static str {
        match self {
            TurnedAway::ConnectionsPerAddress => "connections_per_address",
            TurnedAway::HandshakeTimeout => "handshake_timeout",
            TurnedAway::TlsHandshake => "tls_handshake",
            TurnedAway::PlainHttp => "plain_http",
            TurnedAway::ProxyProtocol => "proxy_protocol",
            TurnedAway::ListenerChanged => "listener_changed",
            TurnedAway::AcceptFailed => "accept_failed",
            TurnedAway::AdministrationFull => "administration_full",
        }
    }
}
