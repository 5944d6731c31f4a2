//! The ONLY code that knows `ProxyHttp`: it adapts the framework's callbacks to the walk of a request.
//!
//! Each callback delegates to the file named after its step; the order is the one of the crate's documentation.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use crate::compress::{self, Compression};
use crate::gateway::Shared;
use crate::plan::route::{Action, Route};
use crate::plan::walk::Asked;
use crate::plan::{OwnPath, Plan};
use crate::policy::refusal::Refusal;
use ctx::{Ctx, Forward};
use reply::Answer;

pub mod attempt;
pub mod ctx;
mod fault;
mod headers;
mod reply;
mod request_id;
mod settle;
mod trace;

/// The gateway's data plane.
pub struct Proxy {
    shared: Arc<Shared>,
}

impl Proxy {
    /// The data plane of a gateway.
    pub fn new(shared: Arc<Shared>) -> Self {
        Proxy { shared }
    }

    /// The walk up to the upstream. `Some` is an answer of the gateway's own.
    fn walk(&self, plan: &Plan, session: &mut Session, ctx: &mut Ctx) -> Result<Option<Answer>, Refusal> {
        let request: &http::request::Parts = session.downstream_session.req_header();
        let asked = plan.inspect(request)?;
        if *asked.path != *request.uri.path() {
            ctx.canonical_path = Some((&*asked.path).into());
        }
        headers::check_loop(&request.headers)?;
        if let Some(own) = plan.own_path(&asked) {
            return Ok(Some(self.own_answer(own)));
        }
        let route = plan.route(&asked, request)?.clone();
        let answer = match &route.action {
            Action::Redirect(status, to) => Some(Answer::redirect(*status, route.redirect_to(to, &asked)?)),
            Action::Respond(fixed) => Some(Answer::fixed(fixed)),
            Action::Forward(_) | Action::Split(_) => {
                ctx.forward = forward(plan, &route, &asked, request, ctx)?;
                None
            }
        };
        ctx.route = Some(route);
        Ok(answer)
    }

    fn own_answer(&self, own: OwnPath) -> Answer {
        match own {
            OwnPath::Health => Answer::status(true),
            OwnPath::Ready => Answer::status(self.shared.is_ready()),
        }
    }
}

fn forward(
    plan: &Plan,
    route: &Route,
    asked: &Asked,
    request: &http::request::Parts,
    ctx: &Ctx,
) -> Result<Option<Forward>, Refusal> {
    let Some(service) = route.service(request, ctx.client_address()) else { return Ok(None) };
    let path = route.upstream_path(asked, plan.edge.merge_slashes)?;
    Ok(Some(Forward {
        service: service.clone(),
        path: (*path != *request.uri.path()).then(|| (&*path).into()),
        deadline: route.timeouts.total.map(|total| ctx.began.instant + total),
        attempts: 0,
        target: 0,
        asked: None,
        upstream_time: None,
    }))
}

fn ask_for_compression(session: &mut Session, ctx: &Ctx) {
    let level = ctx.route.as_ref().map_or(0, |route| route.compression);
    if level > 0
        && let Some(compression) = session.downstream_modules_ctx.get_mut::<Compression>()
    {
        compression.ask(session.downstream_session.req_header(), level);
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        Ctx::new(self.shared.clone())
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(compress::Builder));
    }

    async fn early_request_filter(&self, session: &mut Session, _ctx: &mut Ctx) -> Result<()> {
        session.set_pipelining_enabled(true);
        session.set_total_drain_timeout(Some(DRAIN_TIMEOUT));
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        let plan = self.shared.live.plan();
        ctx.client = headers::client(&plan.edge, session);
        ctx.id = request_id::of(&session.req_header().headers, ctx.client.trusted, ctx.began.time);
        match self.walk(&plan, session, ctx) {
            Ok(None) => {
                ask_for_compression(session, ctx);
                Ok(false)
            }
            Ok(Some(answer)) => reply::send(session, &answer, ctx).await.map(|()| true),
            Err(refusal) => reply::refuse(session, refusal, None, ctx).await.map(|()| true),
        }
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        let has_body = !session.is_body_empty();
        attempt::next_peer(ctx, session.is_upgrade_req(), has_body)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        headers::to_upstream(&self.shared.live.plan().edge, session, upstream, ctx)
    }

    fn fail_to_connect(&self, _session: &mut Session, peer: &HttpPeer, ctx: &mut Ctx, error: Box<Error>) -> Box<Error> {
        attempt::after_failed_connect(ctx, peer, error)
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Ctx,
        reused: bool,
    ) -> Box<Error> {
        attempt::after_failed_exchange(session, ctx, peer, error, reused)
    }

    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        attempt::note_response(response, ctx);
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        _end: bool,
        ctx: &mut Ctx,
    ) -> Result<Option<Duration>> {
        attempt::check_deadline(ctx).map(|()| None)
    }

    async fn response_filter(&self, session: &mut Session, response: &mut ResponseHeader, ctx: &mut Ctx) -> Result<()> {
        headers::to_client(session, response, ctx)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Ctx) -> FailToProxy {
        fault::answer(session, error, ctx).await
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Ctx) {
        settle::settle(session, error, ctx);
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Ctx, _error: &Error) -> bool {
        // The access log tells of every request once, with its error; a second voice would only double the lines.
        true
    }
}

/// How long the rest of a refused request's body is read before the connection is given up.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
