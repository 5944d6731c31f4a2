//! The ONLY code that knows `ProxyHttp`: it adapts the framework's callbacks to the walk of a request.
//!
//! Each callback delegates to the file named after its step; the order is the one of the crate's documentation.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use crate::compress::{self, Compression};
use crate::listen::connection::Connection;
use crate::listen::limits::Limits;
use crate::plan::Edge;
use crate::plan::route::Route;
use crate::plan::walk::walk;
use crate::plane::Plane;
use ctx::{Arrived, Ctx, Known, Line};
use gatekeeper_core::refusal::{Kind, Refusal};
use gatekeeper_core::request_id;
use reply::Answer;
use serve::{Next, Serve};
use stop::Stop;

mod acme;
mod admit;
pub mod attempt;
mod body;
pub mod ctx;
mod date;
mod fault;
pub mod forward;
mod headers;
mod identify;
mod limit;
mod patience;
mod reply;
mod response;
mod retry;
mod serve;
mod settle;
mod shared;
mod stop;
mod trace;
mod verdict;

/// The gateway's data plane.
pub struct Proxy {
    plane: Arc<Plane>,
}

impl Proxy {
    /// The data plane of a gateway.
    pub fn new(plane: Arc<Plane>) -> Self {
        Proxy { plane }
    }

    async fn begin(&self, session: &mut Session, ctx: &mut Ctx) -> Result<Next, Refusal> {
        let plan = self.plane.live.plan();
        let connection = Connection::of(session).cloned().ok_or_else(ctx::lost)?;
        let Ctx { course, known } = ctx;
        let arrival = arrived(&plan.edge, connection, session, course.began.time);
        let known = known.insert(Known { arrival, passage: None });
        self.enter(&plan.edge.limits, &known.arrival.connection, session);
        if known.arrival.connection.entrance.cohort.is_outdated() {
            return Err(Refusal::from(Kind::CONNECTION_OUTDATED).and_close());
        }
        let has_body = !session.is_body_empty();
        let request: &Parts = session.downstream_session.req_header();
        walk(plan, request, &mut Serve { course, known, has_body }).await
    }

    /// Counts a request on its connection, whose last one it may be.
    fn enter(&self, limits: &Limits, connection: &Connection, session: &mut Session) {
        let nth = connection.begin();
        if limits.requests.is_some_and(|most| nth >= most) || !self.plane.is_ready() {
            session.set_keepalive(None);
        }
    }

    /// Takes a request to its service, or to an answer of ours.
    async fn serve(&self, session: &mut Session, ctx: &mut Ctx) -> Result<Option<Answer>, Stop> {
        match self.begin(session, ctx).await? {
            Next::Answer(answer) => Ok(Some(answer)),
            Next::Challenge(challenge) => Ok(Some(acme::answer(challenge).await?)),
            Next::Forward => {
                let mut request = ctx.forwarded()?;
                prepare(session, request.route);
                admit::admit(session, &mut request).await.map(|()| None)
            }
        }
    }
}

/// Where a request came from, and what it asks for.
fn arrived(edge: &Edge, connection: Arc<Connection>, session: &Session, began: SystemTime) -> Arrived {
    let head = session.req_header();
    let client = headers::client(edge, &connection, session);
    Arrived {
        id: request_id::of(&head.headers, client.trusted, began),
        line: Line { method: head.method.clone(), uri: head.uri.clone(), version: head.version },
        connection,
        client,
        canonical_path: None,
    }
}

/// Readies the session for a request that goes on.
fn prepare(session: &mut Session, route: &Route) {
    // The watch bounds the silence of a client (`deadline`). The framework's timer for writing is for a piece of up to 64 KiB;
    // it has its use where a stream can't be seen to be stuck.
    let for_a_piece = session.is_http2().then_some(route.terms.timeouts.idle.max(LEAST_FOR_A_PIECE));
    session.set_write_timeout(for_a_piece);
    session.set_read_timeout(None);
    // What a client of HTTP/1.0 can't understand must not reach it (RFC 9110 15.2).
    let knows_no_hints = session.req_header().version < Version::HTTP_11;
    session.set_ignore_info_resp(knows_no_hints);
    ask_for_compression(session, route.terms.compression);
}

fn ask_for_compression(session: &mut Session, level: u32) {
    if level > 0
        && let Some(compression) = session.downstream_modules_ctx.get_mut::<Compression>()
    {
        compression.ask(session.downstream_session.req_header(), level);
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    // Boxed: the framework moves it from step to step.
    type CTX = Box<Ctx>;

    fn new_ctx(&self) -> Box<Ctx> {
        Box::new(Ctx::new(self.plane.clone()))
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(compress::Builder));
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Box<Ctx>) -> Result<bool> {
        session.set_total_drain_timeout(Some(DRAIN_TIMEOUT));
        headers::name_host(session)?;
        let answer = match self.serve(session, ctx).await {
            Ok(None) => return Ok(false),
            Ok(Some(answer)) => Ok(answer),
            Err(Stop::Refused(refusal)) => Err(refusal),
            Err(Stop::Gone(error)) => return Err(error),
        };
        // Boxed, so that a request that goes on does not carry the room for an answer of ours.
        Box::pin(reply::answer(session, answer, ctx)).await.map(|()| true)
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Box<Ctx>) -> Result<Box<HttpPeer>> {
        attempt::next_peer(session, &mut ctx.forwarded()?).await
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        fd: RawFd,
        _digest: Option<&Digest>,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        attempt::note_connection(fd, reused, ctx.forwarded()?.forward)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        let mut request = ctx.forwarded()?;
        attempt::note_request(session, upstream, &mut request);
        headers::to_upstream(session, upstream, &request)
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        peer: &HttpPeer,
        ctx: &mut Box<Ctx>,
        error: Box<Error>,
    ) -> Box<Error> {
        match ctx.forwarded() {
            Ok(mut request) => attempt::after_failed_connect(session, &mut request, peer, error),
            Err(lost) => lost,
        }
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Box<Ctx>,
        _reused: bool,
    ) -> Box<Error> {
        match ctx.forwarded() {
            Ok(mut request) => attempt::after_failed_exchange(session, &mut request, peer, error),
            Err(lost) => lost,
        }
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        attempt::note_response(session, response, &mut ctx.forwarded()?)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        let mut request = ctx.forwarded()?;
        attempt::note_upload(body.as_ref(), end, &mut request);
        body::end_once(body, end);
        attempt::hand_over(body, request.forward);
        body::check_length(session, &mut request)
    }

    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        _ctx: &mut Box<Ctx>,
    ) -> Result<Option<Duration>> {
        attempt::note_download(body.as_ref(), end).map(|()| None)
    }

    fn upstream_response_trailer_filter(
        &self,
        session: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        verdict::note_trailers(session, trailers, ctx.forwarded()?.forward);
        response::strip(trailers);
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        let mut request = ctx.forwarded()?;
        response::to_client(session, response, &mut request)?;
        response::begin_encoding(session, response, &request)
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Box<Ctx>,
    ) -> Result<Option<Duration>> {
        let request = ctx.forwarded()?;
        let long = response::encode(session, body, end, request.route)?;
        body::hand_on(session, body.as_ref(), &request.arrival.connection.account);
        Ok(long.then_some(TURN))
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Box<Ctx>) -> FailToProxy {
        Box::pin(fault::answer(session, error, ctx)).await
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Box<Ctx>) {
        settle::settle(session, error, ctx);
    }

    fn request_summary(&self, _session: &Session, ctx: &Box<Ctx>) -> String {
        // The framework's has the query, which is nothing for a log.
        format!("request {:?}", ctx.id())
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Box<Ctx>, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Box<Ctx>, _error: &Error) -> bool {
        // The access log tells of every request once, with its error; a second voice would only double the lines.
        true
    }
}

/// What an HTTP/2 client has at least to take a piece of an answer.
const LEAST_FOR_A_PIECE: Duration = Duration::from_secs(2);

/// The shortest sleep there is: others have their turn.
const TURN: Duration = Duration::from_nanos(1);

/// How long the rest of a refused request's body is read before the connection is given up.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
