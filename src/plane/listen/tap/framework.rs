//! What the framework wants to know of a client's stream beside its bytes.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use tokio::io::AsyncWriteExt;

use super::Tap;
use super::speech::Speech;
use crate::listen::farewell::FAREWELL;

#[async_trait]
impl Shutdown for Tap {
    async fn shutdown(&mut self) {
        // TLS has something to say, and the client may not listen.
        let _ = tokio::time::timeout(FAREWELL, self.stream.shutdown()).await;
    }
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").field("source", &self.connection.source).finish_non_exhaustive()
    }
}

impl UniqueID for Tap {
    fn id(&self) -> UniqueIDType {
        self.stream.get_ref().as_raw_fd()
    }
}

impl Ssl for Tap {
    /// What requests want to know of TLS, the connection tells them.
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        None
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        matches!(self.speech, Speech::Two(_)).then_some(ALPN::H2)
    }
}

impl GetTimingDigest for Tap {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Tap {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.digest.clone())
    }
}

impl GetSocketDigest for Tap {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
