//! Judging a request by the methods of its route: at once where that is possible, else by who has to be asked.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderValue, StatusCode};
use tokio::time::timeout_at;

use super::challenge::{denied, unavailable, unknown_keys};
use super::forward::Decision;
use super::introspection::{Introspection, Opinion};
use super::issuer::Verdict;
use super::rejection::Reason;
use super::remote::Unavailable;
use super::token::LONGEST;
use super::turns::Turn;
use super::{Blame, Denial, Judgement, Method, Question, RouteAuth, User, Visitor, Why, credential, page};
use gatekeeper_core::refusal::Refusal;

/// Questions about tokens that may be under way for one address.
const FEW: u32 = 16;
/// Those about whole requests, whose answers are not kept.
const MANY: u32 = 64;
/// How long a token waits for keys at most.
const PATIENCE: Duration = Duration::from_secs(5);
const LATE: &str = "no answer before the request's time was over";
const INACTIVE: &str = "the token is invalid or expired";

impl RouteAuth {
    /// What is thought of a request. Nothing is counted.
    pub fn judge<'a>(&self, visitor: &Visitor<'a>) -> Judgement<'a> {
        for method in &self.methods {
            let judged = match method {
                Method::Jwt | Method::Introspection => self.by_token(visitor),
                Method::ApiKey => self.by_key(visitor),
                Method::Certificate => self.by_certificate(visitor),
                Method::Forward => self.by_asking(visitor),
            };
            match judged {
                Ok(None) => {}
                Ok(Some(judgement)) => return judgement,
                Err(refusal) => return Judgement::Refused(denied(Some(*method), refusal, Blame::None)),
            }
        }
        Judgement::Refused(denied(None, self.missing(), Blame::None))
    }

    /// Asks, and judges the answer. Whoever asked keeps the turn that this took until a failure is counted.
    pub async fn resolve(
        &self,
        question: Question<'_>,
        visitor: &Visitor<'_>,
    ) -> (Result<User, Denial>, Option<Turn<'_>>) {
        let mut turn = None;
        let judged = match question {
            Question::Keys(token) => self.with_new_keys(token, visitor, &mut turn).await,
            Question::Token(token) => self.introspect(token, visitor, &mut turn).await,
            Question::Request => self.ask_about(visitor, &mut turn).await,
        };
        (judged, turn)
    }

    fn by_token<'a>(&self, visitor: &Visitor<'a>) -> Result<Option<Judgement<'a>>, Refusal> {
        let Some(token) = credential::token(&visitor.request.headers, self.token_from.as_ref())? else {
            return Ok(None);
        };
        if token.ambient {
            page::check(visitor)?;
        }
        let issuers = self.auth.issuers.as_ref().filter(|_| self.takes(Method::Jwt));
        if let Some(identity) = issuers.and_then(|issuers| issuers.recognise(token.text, visitor.now.1)) {
            return Ok(Some(Judgement::Known(User::known(identity, Method::Jwt))));
        }
        let Ok(text) = std::str::from_utf8(token.text) else {
            return Ok(Some(self.invalid(Method::Jwt, "the token is malformed")));
        };
        if let Some(Opinion::Good(identity)) = self.introspection().and_then(|introspection| introspection.known(text))
        {
            return Ok(Some(Judgement::Known(User::known(identity, Method::Introspection))));
        }
        self.auth.failures.admit(visitor.address, visitor.now.0)?;
        if !(1..=LONGEST).contains(&text.len()) {
            let why = if text.is_empty() { Reason::Malformed } else { Reason::TooLong };
            return Ok(Some(self.rejected(&why.into())));
        }
        let verdict = issuers.map(|issuers| issuers.judge(text, visitor.now.1));
        Ok(Some(self.by_verdict(verdict.unwrap_or(Verdict::Foreign(Reason::Issuer)), text)))
    }

    fn by_verdict<'a>(&self, verdict: Verdict, token: &'a str) -> Judgement<'a> {
        match verdict {
            Verdict::Accepted(identity) => Judgement::Known(User::known(identity, Method::Jwt)),
            Verdict::Rejected(why) if why.reason == Reason::Unavailable => Judgement::Refused(unknown_keys()),
            Verdict::Rejected(why) => self.rejected(&why),
            Verdict::Ask(_) => Judgement::Pending(Question::Keys(token)),
            Verdict::Foreign(why) => self.foreign(token, why),
        }
    }

    /// A token that nobody here knows anything of.
    fn foreign<'a>(&self, token: &'a str, why: Reason) -> Judgement<'a> {
        match self.introspection() {
            None => self.rejected(&why.into()),
            Some(introspection) => match introspection.known(token) {
                Some(Opinion::Good(identity)) => Judgement::Known(User::known(identity, Method::Introspection)),
                Some(Opinion::Bad) => self.invalid(Method::Introspection, INACTIVE),
                None => Judgement::Pending(Question::Token(token)),
            },
        }
    }

    fn by_key<'a>(&self, visitor: &Visitor<'a>) -> Result<Option<Judgement<'a>>, Refusal> {
        let Some(keys) = &self.auth.api_keys else { return Ok(None) };
        let Some(key) = credential::only(&visitor.request.headers, &keys.header)? else { return Ok(None) };
        if let Some(key) = keys.find(key.as_bytes(), visitor.now.1) {
            let user = User::known(key.owner.clone(), Method::ApiKey);
            return Ok(Some(Judgement::Known(User { key: Some(key.clone()), ..user })));
        }
        self.auth.failures.admit(visitor.address, visitor.now.0)?;
        Ok(Some(self.invalid(Method::ApiKey, "unknown or expired API key")))
    }

    fn by_certificate<'a>(&self, visitor: &Visitor<'a>) -> Result<Option<Judgement<'a>>, Refusal> {
        let (Some(listed), Some(certificate)) = (&self.auth.certificates, visitor.certificate) else { return Ok(None) };
        page::check(visitor)?;
        let text = |value: &'a HeaderValue| std::str::from_utf8(value.as_bytes()).unwrap_or_default();
        let found = listed.find(text(&certificate.subject), text(&certificate.fingerprint));
        Ok(Some(match found {
            Some(identity) => Judgement::Known(User::known(identity, Method::Certificate)),
            None => {
                let refusal = self.unauthenticated("unknown client certificate");
                Judgement::Refused(denied(Some(Method::Certificate), refusal, Blame::None))
            }
        }))
    }

    fn by_asking<'a>(&self, visitor: &Visitor<'a>) -> Result<Option<Judgement<'a>>, Refusal> {
        if self.auth.forward.as_ref().is_some_and(|forward| forward.sees_ambient(&visitor.request.headers)) {
            page::check(visitor)?;
        }
        self.auth.failures.admit(visitor.address, visitor.now.0)?;
        Ok(Some(Judgement::Pending(Question::Request)))
    }

    async fn with_new_keys<'t>(
        &'t self,
        token: &str,
        visitor: &Visitor<'_>,
        turn: &mut Option<Turn<'t>>,
    ) -> Result<User, Denial> {
        let Some(issuers) = &self.auth.issuers else { return Err(unknown_keys()) };
        let until = visitor.at_most(Instant::now() + PATIENCE);
        // Who finds no turn in time is judged by the keys that there are.
        self.take_turn(Method::Jwt, FEW, until, visitor, turn).await?;
        // Time has passed, for the token too.
        let verdict = issuers.settle(token, SystemTime::now(), until).await;
        match self.by_verdict(verdict, token) {
            Judgement::Known(user) => Ok(user),
            Judgement::Refused(denial) => Err(denial),
            Judgement::Pending(Question::Token(token)) => self.introspect(token, visitor, turn).await,
            Judgement::Pending(_) => Err(unknown_keys()),
        }
    }

    async fn introspect<'t>(
        &'t self,
        token: &str,
        visitor: &Visitor<'_>,
        turn: &mut Option<Turn<'t>>,
    ) -> Result<User, Denial> {
        let by = Method::Introspection;
        let Some(introspection) = &self.auth.introspection else { return Err(self.refused(by, INACTIVE)) };
        let (deadline, worth_while) = introspection.deadline();
        let opinion = match introspection.awaited(token) {
            Some(asked) => in_time(by, visitor.at_most(deadline), asked).await?,
            None => {
                self.have_turn(by, FEW, visitor.at_most(worth_while), visitor, turn).await?;
                in_time(by, visitor.at_most(deadline), introspection.ask(token, deadline)).await?
            }
        };
        match opinion {
            Opinion::Good(identity) => Ok(User::known(identity, by)),
            Opinion::Bad => Err(self.refused(by, INACTIVE)),
        }
    }

    async fn ask_about<'t>(&'t self, visitor: &Visitor<'_>, turn: &mut Option<Turn<'t>>) -> Result<User, Denial> {
        let by = Method::Forward;
        let Some(forward) = &self.auth.forward else { return Err(denied(None, self.missing(), Blame::None)) };
        let (deadline, worth_while) = forward.deadline();
        self.have_turn(by, MANY, visitor.at_most(worth_while), visitor, turn).await?;
        match in_time(by, visitor.at_most(deadline), forward.ask(visitor, deadline)).await? {
            Decision::Pass(identity, told) => Ok(User { told: told.into(), ..User::known(Arc::new(identity), by) }),
            Decision::Answer(reply) => {
                let shown = forward.settings().sent.iter().any(|name| visitor.request.headers.contains_key(name));
                let wrong = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&reply.status);
                let blame = if shown && wrong { Blame::Counted } else { Blame::None };
                Err(Denial { by: Some(by), why: Why::Answer(Box::new(reply), blame) })
            }
        }
    }

    /// Who is asked about tokens, if the route takes that.
    fn introspection(&self) -> Option<&Introspection> {
        self.auth.introspection.as_deref().filter(|_| self.takes(Method::Introspection))
    }

    /// Takes one of the turns of an address, or comes too late to ask.
    async fn have_turn<'t>(
        &'t self,
        by: Method,
        most: u32,
        until: Instant,
        visitor: &Visitor<'_>,
        turn: &mut Option<Turn<'t>>,
    ) -> Result<(), Denial> {
        match self.take_turn(by, most, until, visitor, turn).await? {
            true => Ok(()),
            false => Err(unavailable(by, "too many requests for one address at a time".into())),
        }
    }

    /// Takes one of the turns of an address, unless this request has one. Whether it came in time.
    async fn take_turn<'t>(
        &'t self,
        by: Method,
        most: u32,
        until: Instant,
        visitor: &Visitor<'_>,
        turn: &mut Option<Turn<'t>>,
    ) -> Result<bool, Denial> {
        if turn.is_none() {
            let taken = timeout_at(until.into(), self.auth.failures.turn(visitor.address, most)).await;
            let Ok(taken) = taken else { return Ok(false) };
            *turn = taken.map_err(|refusal| denied(Some(by), refusal, Blame::None))?;
        }
        Ok(true)
    }
}

impl Visitor<'_> {
    /// This moment, or the one when the route's time is over.
    fn at_most(&self, moment: Instant) -> Instant {
        self.until.map_or(moment, |until| until.min(moment))
    }
}

/// What someone who was asked says, if it comes in time.
async fn in_time<T>(
    by: Method,
    deadline: Instant,
    asked: impl Future<Output = Result<T, Unavailable>>,
) -> Result<T, Denial> {
    let said = timeout_at(deadline.into(), asked).await.unwrap_or_else(|_| Err(Unavailable(LATE.into())));
    said.map_err(|Unavailable(why)| {
        let whom = if by == Method::Forward { "forward authentication" } else { "introspection" };
        unavailable(by, format!("{whom}: {why}"))
    })
}
