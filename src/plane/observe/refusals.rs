//! The last refusals, to be found again by the request's id: what a client quotes from its error is what an operator
//! asks for.
//!
//! Bounded: the newest [`KEPT`], each text cut after [`LONGEST`] bytes (the violated rules are one text), so about
//! 48 MiB at the very worst and 3 MiB usually. A new refusal takes over the room of the oldest: in the long run,
//! keeping one allocates nothing. Requests that a policy in shadow mode would have refused are kept too. Nothing here holds
//! a credential or a query.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::{Method, StatusCode};
use jiff::Timestamp;
use parking_lot::Mutex;

use gatekeeper_core::event::Event;
use gatekeeper_core::problem;
use gatekeeper_core::refusal::Refusal;
use gatekeeper_core::reports::Refused;
use gatekeeper_core::sink::Sink;

/// Refusals that are kept.
const KEPT: usize = 4096;
/// Bytes of a text that are kept.
const LONGEST: usize = 512;
/// Bytes that the texts of most refusals fit into.
const ROOM: usize = 512;
/// Texts of a refusal, without the names of rules.
const TEXTS: usize = 10;
/// Ends the name of a rule: no name holds a control character.
const END: char = '\n';

/// The last refusals.
#[derive(Default)]
pub struct Refusals {
    kept: Mutex<VecDeque<Entry>>,
}

/// What is known of a refusal beside its texts.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    /// When the request came.
    time: SystemTime,
    /// The client's address, if it may be shown.
    client_ip: Option<IpAddr>,
    /// The status of the answer, if there was one.
    status: Option<StatusCode>,
    /// Why it was refused; absent if it was not.
    error_code: Option<&'static str>,
    /// After how many seconds it may be tried again.
    retry_after: Option<u64>,
}

/// A refusal as it is kept.
struct Entry {
    outcome: Outcome,
    /// All texts, one after the other; behind them the names of the rules.
    text: String,
    /// How long each of them is; none for one that is absent.
    lengths: [Option<u16>; TEXTS],
}

impl Refusals {
    /// Keeps a request that was refused, or would have been, and forgets the oldest one if there are too many. The client's
    /// address is kept if it may be shown.
    pub fn keep(&self, event: &Event, refusal: Option<&Refusal>, client_ip: Option<IpAddr>) {
        let outcome = Outcome::of(event, refusal, client_ip);
        let mut kept = self.kept.lock();
        if kept.len() < KEPT {
            kept.push_back(Entry::new(outcome));
        } else {
            kept.rotate_left(1);
        }
        if let Some(entry) = kept.back_mut() {
            entry.write(outcome, event, refusal);
        }
    }

    /// The newest refusal of a request with this id.
    pub fn find(&self, request_id: &str) -> Option<Refused> {
        self.kept.lock().iter().rev().find(|entry| entry.is_of(request_id)).map(Entry::shown)
    }
}

/// The last refusals as the sink of one event: with what the client was told, and whether its address may be shown.
pub struct Keeping<'a> {
    /// Where it is kept.
    pub refusals: &'a Refusals,
    /// What the client was told, or would have been; absent if only a policy in shadow mode refused the request.
    pub refusal: Option<&'a Refusal>,
    /// The client's address may be shown.
    pub shows_client: bool,
}

impl Sink for Keeping<'_> {
    fn take(&self, event: &Event<'_>) {
        self.refusals.keep(event, self.refusal, event.facts.client.filter(|_| self.shows_client));
    }
}

impl Outcome {
    fn of(event: &Event, refusal: Option<&Refusal>, client_ip: Option<IpAddr>) -> Self {
        Outcome {
            time: event.facts.started,
            client_ip,
            status: event.facts.status,
            error_code: refusal.map(|refusal| refusal.kind.code),
            retry_after: refusal.and_then(problem::retry_after),
        }
    }
}

impl Entry {
    fn new(outcome: Outcome) -> Self {
        Entry { outcome, text: String::with_capacity(ROOM), lengths: [None; TEXTS] }
    }

    /// Writes a refusal in the place of the one that was here.
    fn write(&mut self, outcome: Outcome, event: &Event, refusal: Option<&Refusal>) {
        self.outcome = outcome;
        self.text.clear();
        for (length, text) in self.lengths.iter_mut().zip(texts(event, refusal)) {
            let text = text.map(|text| shortened(text, LONGEST));
            *length = text.map(|text| text.len() as u16);
            self.text.push_str(text.unwrap_or_default());
        }
        for rule in kept(refusal.map_or(&[], |refusal| &refusal.rules)) {
            self.text.push_str(rule);
            self.text.push(END);
        }
        let room = self.text.len().max(ROOM);
        if self.text.capacity() > 4 * room {
            self.text.shrink_to(room);
        }
    }

    /// Whether it is of the request with this id, which is its first text.
    fn is_of(&self, request_id: &str) -> bool {
        let [length, ..] = self.lengths;
        length.map(usize::from) == Some(request_id.len()) && self.text.starts_with(request_id)
    }

    fn shown(&self) -> Refused {
        let (outcome, mut rest) = (self.outcome, self.text.as_str());
        let texts = self.lengths.map(|length| {
            let (text, behind) = rest.split_at_checked(length?.into())?;
            rest = behind;
            Some(text.to_owned())
        });
        let [request_id, method, path, route, target_service, user, issuer, detail, cause, would_refuse] = texts;
        Refused {
            request_id: request_id.unwrap_or_default(),
            time: Timestamp::try_from(outcome.time).unwrap_or_default(),
            method,
            path,
            route,
            target_service,
            client_ip: outcome.client_ip,
            user_id: user.zip(issuer).map(|(user, issuer)| format!("{user} ({issuer})")),
            status_code: outcome.status.map(|status| status.as_u16()),
            error_code: outcome.error_code.map(String::from),
            detail,
            cause,
            violated_policies: rest.split_terminator(END).map(String::from).collect(),
            retry_after: outcome.retry_after,
            would_refuse,
        }
    }
}

/// The texts in the order in which they are kept.
fn texts<'a>(event: &'a Event, refusal: Option<&'a Refusal>) -> [Option<&'a str>; TEXTS] {
    let (user, issuer) = event.user.unzip();
    [
        event.request_id,
        event.method.map(Method::as_str),
        event.path,
        event.route,
        event.service,
        user,
        issuer,
        refusal.map(|refusal| &*refusal.detail),
        event.error_message,
        event.would_refuse,
    ]
}

/// The names of rules, as far as they are kept.
fn kept(rules: &[Arc<str>]) -> impl Iterator<Item = &str> {
    let mut room = LONGEST;
    rules.iter().map_while(move |rule| {
        let rule = Some(shortened(rule, room)).filter(|rule| !rule.is_empty())?;
        room = room.saturating_sub(rule.len() + END.len_utf8());
        Some(rule)
    })
}

fn shortened(text: &str, longest: usize) -> &str {
    text.get(..text.floor_char_boundary(longest)).unwrap_or_default()
}
