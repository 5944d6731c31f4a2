//! The door: what a connection passes before its requests walk. Caps, the PROXY header of a trusted peer, TLS; then the
//! framework serves it through a tap.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;
use pingora::apps::ServerApp;
use pingora::server::ShutdownWatch;
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsAcceptor;

use super::caps::CountedOfAddress;
use super::connection::Connection;
use super::deadline::guard;
use super::entrance::Entrance;
use super::limits::Limits;
use super::plain;
use super::reception::Reception;
use super::tap::Tap;
use super::tls::subject::subject_and_fingerprint;
use super::transport::{Socket, Transport};
use crate::observe::{Open, TurnedAway};
use crate::policy::auth::certificate::ClientCertificate;
use gatekeeper_core::net::UNKNOWN;
use gatekeeper_core::proxy_protocol::{self, Parsed};

/// What every connection passes. All listeners lead to one application, and so to one pool of upstream connections.
pub struct Door<A> {
    /// What all connections share.
    pub reception: Arc<Reception>,
    /// What serves their requests.
    pub application: Arc<A>,
}

/// The two ends of a connection.
#[derive(Clone, Copy)]
pub struct Ends {
    /// The client's; `None` on a unix socket.
    pub source: Option<SocketAddr>,
    /// Ours.
    pub destination: Option<SocketAddr>,
}

impl<A: ServerApp + Send + Sync + 'static> Door<A> {
    /// Serves a connection to its end. It counts from now on, and not from when its task begins: until then more would be
    /// accepted than may be.
    pub fn serve(
        self: Arc<Self>,
        socket: Socket,
        ends: Ends,
        entrance: Arc<Entrance>,
        shutdown: ShutdownWatch,
    ) -> impl Future<Output = ()> + Send {
        let metrics = &self.reception.observers.metrics;
        let open = (!entrance.is_for_probes).then(|| (metrics.connection(), self.reception.caps.count()));
        let newcomer = open.is_some().then(|| metrics.newcomer());
        async move {
            let _open = open;
            self.serve_counted(socket, ends, entrance, newcomer, shutdown).await;
        }
    }

    async fn serve_counted(
        &self,
        socket: Socket,
        ends: Ends,
        entrance: Arc<Entrance>,
        newcomer: Option<Open>,
        shutdown: ShutdownWatch,
    ) {
        let limits = self.reception.rules().limits;
        let entering = self.enter(socket, ends, entrance, newcomer, limits);
        match tokio::time::timeout(limits.head_timeout, entering).await.unwrap_or(Err(TurnedAway::HandshakeTimeout)) {
            Ok((mut tap, _of_address)) => {
                let shutdown = limits.max_age.map_or(shutdown, |age| tap.bound(age));
                guard(self.application.process_new(Box::new(tap), &shutdown)).await;
            }
            Err(reason) => self.reception.observers.metrics.turned_away(reason),
        }
    }

    /// Everything before the first request.
    async fn enter(
        &self,
        mut socket: Socket,
        mut ends: Ends,
        entrance: Arc<Entrance>,
        newcomer: Option<Open>,
        limits: Limits,
    ) -> Result<(Tap, Option<CountedOfAddress>), TurnedAway> {
        let peer = ends.source.map(|source| source.ip());
        if entrance.proxy_protocol && self.reception.rules().trusted.contains(peer) {
            let header = read_proxy_header(&mut socket).await.map_err(|_| TurnedAway::ProxyProtocol)?;
            if !header.is_local {
                ends.source = Some(header.source.unwrap_or(SocketAddr::new(UNKNOWN, 0)));
            }
            ends.destination = header.destination.or(ends.destination);
        }
        let address = ends.source.map(|source| source.ip());
        // A trusted proxy comes for many.
        let address = address.filter(|address| !self.reception.rules().trusted.contains(Some(*address)));
        let count = |address| {
            self.reception.caps.count_of(address, limits.per_address).ok_or(TurnedAway::ConnectionsPerAddress)
        };
        let counted = address.map(count).transpose()?;
        let account = self.reception.ledger.open();
        let mut connection = Connection::new(ends.source, ends.destination, entrance.clone(), newcomer, account);
        let (transport, is_h2) = match &entrance.tls {
            None => (Transport::Plain(socket), false),
            Some(tls) => {
                if plain::begins(&socket).await {
                    plain::refuse(socket, &entrance, &self.reception.plain).await;
                    return Err(TurnedAway::PlainHttp);
                }
                let accepting = TlsAcceptor::from(tls.config.clone()).accept(socket);
                let stream = accepting.await.map_err(|_| TurnedAway::TlsHandshake)?;
                let (_, session) = stream.get_ref();
                connection.certificate = session.peer_certificates().and_then(|chain| certificate(chain.first()?));
                let is_h2 = session.alpn_protocol() == Some(b"h2");
                (Transport::Tls(Box::new(stream)), is_h2)
            }
        };
        if entrance.cohort.is_outdated() {
            return Err(TurnedAway::ListenerChanged);
        }
        Ok((Tap::new(transport, self.reception.clone(), Arc::new(connection), limits, is_h2), counted))
    }
}

fn certificate(der: &[u8]) -> Option<ClientCertificate> {
    let (subject, fingerprint) = subject_and_fingerprint(der)?;
    Some(ClientCertificate {
        subject: HeaderValue::from_str(&subject).ok()?,
        fingerprint: HeaderValue::from_str(&fingerprint).ok()?,
    })
}

/// Takes the header, and not a byte of what follows it.
async fn read_proxy_header(socket: &mut Socket) -> io::Result<proxy_protocol::Header> {
    let mut seen = vec![0; proxy_protocol::LONGEST];
    let mut taken = 0;
    loop {
        let rest = seen.get_mut(taken..).unwrap_or_default();
        let arrived = socket.peek(rest).await?;
        if arrived == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let parsed = proxy_protocol::parse(seen.get(..taken + arrived).unwrap_or_default());
        let (length, header) = match parsed {
            Parsed::Incomplete => (taken + arrived, None),
            Parsed::Header(header) => (header.length, Some(header)),
            Parsed::Absent | Parsed::Malformed(_) => return Err(io::ErrorKind::InvalidData.into()),
        };
        socket.read_exact(seen.get_mut(taken..length).unwrap_or_default()).await?;
        taken = length;
        if let Some(header) = header {
            return Ok(header);
        }
    }
}
