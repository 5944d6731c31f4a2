//! The ONLY code that knows `ProxyHttp`: it adapts the framework's callbacks to the walk of a request.
//!
//! Each callback delegates to the file named after its step; the order is the one of the crate's documentation.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use crate::Plane;
use crate::compress::{self, Compression};
use crate::listen::connection::Connection;
use crate::listen::limits::Limits;
use crate::listen::refuse::refusal;
use crate::plan::route::Route;
use crate::plan::walk::{Asked, Decision};
use crate::plan::{OwnPath, Plan};
use ctx::{Ctx, Line};
use gatekeeper_core::refusal::{Kind, Refusal};
use gatekeeper_core::wire::request::FRAGMENT;
use reply::Answer;

mod admit;
pub mod attempt;
mod body;
pub mod ctx;
mod date;
pub mod deadline;
mod entrance;
mod fairness;
mod fault;
mod grpc;
mod headers;
pub mod holding;
mod identify;
mod limit;
mod patience;
mod reply;
pub mod request_id;
mod response;
mod retry;
mod settle;
mod shared;
mod trace;
mod verdict;
mod walk;

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
        enter(&plan.edge.limits, session, ctx);
        ctx.client = headers::client(&plan.edge, ctx.connection.as_deref(), session);
        ctx.id = request_id::of(&session.req_header().headers, ctx.client.trusted, ctx.began.time);
        if ctx.connection.as_ref().is_some_and(|connection| connection.entrance.cohort.is_outdated()) {
            return Err(Refusal::from(Kind::CONNECTION_OUTDATED).and_close());
        }
        let has_body = !session.is_body_empty();
        let request: &Parts = session.downstream_session.req_header();
        ctx.line = Some(Line { method: request.method.clone(), uri: request.uri.clone(), version: request.version });
        whole(request, ctx)?;
        let listener = ctx.connection.as_ref().map(|connection| connection.entrance.id);
        let asked = plan.inspect(request, listener.unwrap_or_default())?;
        ctx.present = asked.present;
        let reached = self.reach(&plan, &asked, request, ctx)?;
        // The plan is not held while someone is asked.
        drop(plan);
        let route = match reached {
            Reached::Route(route) => route,
            Reached::Next(next) => return Ok(next),
        };
        let next = walk::walk(&route, &asked, request, has_body, ctx).await?;
        if let Next::Forward = next {
            prepare(&route, session, ctx);
        }
        Ok(next)
    }

    /// The walk up to the route.
    fn reach(&self, plan: &Plan, asked: &Asked, request: &Parts, ctx: &mut Ctx) -> Result<Reached, Refusal> {
        if *asked.path != *request.uri.path() {
            ctx.canonical_path = Some((&*asked.path).into());
        }
        if ctx.connection.as_ref().is_some_and(|connection| connection.is_probe()) {
            return Ok(Next::Answer(Answer::status(true)).into());
        }
        let own_path = plan.edge.own_path(asked);
        walk::shield_front(&plan.edge, own_path, request, ctx)?;
        if let Some(webroot) = &plan.edge.acme_webroot
            && let Some(token) = entrance::challenge(asked)
        {
            entrance::check_method(&request.method)?;
            return Ok(Next::Challenge(webroot.clone(), token.to_owned()).into());
        }
        let to_https = ctx.connection.as_ref().and_then(|connection| connection.entrance.redirect_https);
        if let Some(port) = to_https.filter(|_| own_path.is_none()) {
            return entrance::redirect_to_https(port, asked).map(|answer| Next::Answer(answer).into());
        }
        match plan.decide(asked, request)? {
            Decision::Own(own) => Ok(Next::Answer(self.own_answer(own)).into()),
            Decision::Preflight(route) => {
                ctx.route = Some(route.clone());
                let judged = route.terms.shield.addresses.admit(ctx.client_address());
                walk::shielded(judged, &plan.edge, route.terms.shield.shadow, ctx)?;
                Ok(Next::Answer(Answer::preflight()).into())
            }
            Decision::Route(route) => {
                ctx.route = Some(route.clone());
                Ok(Reached::Route(route.clone()))
            }
        }
    }

    fn own_answer(&self, own: OwnPath) -> Answer {
        match own {
            OwnPath::Health => Answer::status(true),
            OwnPath::Ready => Answer::status(self.plane.is_ready()),
        }
    }
}

/// Where the walk up to the route led.
enum Reached {
    /// To a route.
    Route(Arc<Route>),
    /// To an end.
    Next(Next),
}

impl From<Next> for Reached {
    fn from(next: Next) -> Self {
        Reached::Next(next)
    }
}

/// What follows the walk.
enum Next {
    /// The request goes to its service.
    Forward,
    /// The gateway answers.
    Answer(Answer),
    /// The gateway answers with the file in this webroot for this token.
    Challenge(PathBuf, String),
}

/// Links a request to its connection, whose last one it may be.
fn enter(limits: &Limits, session: &mut Session, ctx: &mut Ctx) {
    let Some(connection) = Connection::of(session).cloned() else { return };
    let nth = connection.begin();
    if limits.requests.is_some_and(|most| nth >= most) || !ctx.plane.is_ready() {
        session.set_keepalive(None);
    }
    ctx.connection = Some(connection);
}

/// Refuses a request whose target lost a fragment on its way through the HTTP/2 library.
fn whole(request: &Parts, ctx: &Ctx) -> Result<(), Refusal> {
    let target = request.uri.path_and_query().map_or("", PathAndQuery::as_str);
    match &ctx.connection {
        Some(connection) if connection.was_cut(target) => Err(refusal(FRAGMENT)),
        _ => Ok(()),
    }
}

/// Readies the session for a request that goes on.
fn prepare(route: &Route, session: &mut Session, ctx: &Ctx) {
    // The watch bounds the silence of a client (`deadline`). The framework's timer for writing is for a piece of up to 64 KiB;
    // it has its use where a stream can't be seen to be stuck.
    let for_a_piece = session.is_http2().then_some(route.terms.timeouts.idle.max(LEAST_FOR_A_PIECE));
    session.set_write_timeout(for_a_piece);
    session.set_read_timeout(None);
    // What a client of HTTP/1.0 can't understand must not reach it (RFC 9110 15.2).
    let knows_no_hints = session.req_header().version < Version::HTTP_11;
    session.set_ignore_info_resp(knows_no_hints);
    ask_for_compression(session, ctx);
}

fn ask_for_compression(session: &mut Session, ctx: &Ctx) {
    let level = ctx.route.as_ref().map_or(0, |route| route.terms.compression);
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
        let answer = match self.begin(session, ctx).await {
            Ok(Next::Forward) => match admit::admit(session, ctx).await? {
                Ok(()) => return Ok(false),
                Err(refusal) => Err(refusal),
            },
            Ok(Next::Answer(answer)) => Ok(answer),
            Ok(Next::Challenge(webroot, token)) => entrance::answer_challenge(&webroot, token).await,
            Err(refusal) => Err(refusal),
        };
        // Boxed, so that a request that goes on does not carry the room for an answer of ours.
        Box::pin(reply::answer(session, answer, ctx)).await.map(|()| true)
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Box<Ctx>) -> Result<Box<HttpPeer>> {
        attempt::next_peer(session, ctx).await
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
        attempt::note_connection(fd, reused, ctx)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        attempt::note_request(session, upstream, ctx);
        headers::to_upstream(session, upstream, ctx)
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        peer: &HttpPeer,
        ctx: &mut Box<Ctx>,
        error: Box<Error>,
    ) -> Box<Error> {
        attempt::after_failed_connect(session, ctx, peer, error)
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Box<Ctx>,
        _reused: bool,
    ) -> Box<Error> {
        attempt::after_failed_exchange(session, ctx, peer, error)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        attempt::note_response(session, response, ctx)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        attempt::note_upload(body.as_ref(), end, ctx);
        body::end_once(body, end);
        attempt::hand_over(body, ctx);
        body::check_length(session, ctx)
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
        verdict::note_trailers(session, trailers, ctx);
        response::strip(trailers);
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        response::to_client(session, response, ctx)?;
        response::begin_encoding(session, response, ctx)
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Box<Ctx>,
    ) -> Result<Option<Duration>> {
        let long = response::encode(session, body, end, ctx)?;
        holding::hand_on(session, body.as_ref(), ctx);
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
        format!("request {:?}", ctx.id)
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
