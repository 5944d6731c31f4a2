//! The last refusals, to be found again by the request's id: what a client quotes from its error is what an operator
//! asks for.
//!
//! Bounded: the newest [`KEPT`], each text cut after [`LONGEST`] bytes (the violated rules are one text), so about
//! 48 MiB at the very worst and 3 MiB usually. A new refusal takes over the room of the oldest: in the long run,
//! keeping one allocates nothing. Requests that a policy on trial would have refused are kept too. Nothing here holds
//! a credential or a query.

mod refused;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use parking_lot::Mutex;

pub use refused::Refused;

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

/// A request that was refused, or would have been; its texts are borrowed from whoever served it.
#[derive(Clone, Debug)]
pub struct Case<'a> {
    /// Numbers and the like.
    pub outcome: Outcome,
    /// The request's id.
    pub request_id: &'a str,
    /// Its method.
    pub method: &'a str,
    /// Its canonical path, or what was sent if it has none.
    pub path: &'a str,
    /// The route it took.
    pub route: Option<&'a str>,
    /// The service it was for.
    pub target_service: Option<&'a str>,
    /// The user, if one is known, and who says so.
    pub user: Option<(&'a str, &'a str)>,
    /// What the client was told.
    pub detail: Option<&'a str>,
    /// What the client was not told.
    pub cause: Option<&'a str>,
    /// What policies on trial would have refused it for.
    pub would_refuse: Option<&'a str>,
    /// The rules it was refused by.
    pub violated_policies: &'a [Arc<str>],
}

/// What is known of a refusal beside its texts.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// When the request came.
    pub time: SystemTime,
    /// The client's address, if it may be shown.
    pub client_ip: Option<IpAddr>,
    /// The status of the answer.
    pub status_code: u16,
    /// Why it was refused; absent if it was not.
    pub error_code: Option<&'static str>,
    /// After how many seconds it may be tried again.
    pub retry_after: Option<u64>,
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
    /// Keeps a refusal, and forgets the oldest one if there are too many.
    pub fn keep(&self, case: &Case) {
        let mut kept = self.kept.lock();
        if kept.len() < KEPT {
            kept.push_back(Entry::new(case.outcome));
        } else {
            kept.rotate_left(1);
        }
        if let Some(entry) = kept.back_mut() {
            entry.write(case);
        }
    }

    /// The newest refusal of a request with this id.
    pub fn find(&self, request_id: &str) -> Option<Refused> {
        self.kept.lock().iter().rev().find(|entry| entry.is_of(request_id)).map(Entry::shown)
    }
}

impl Entry {
    fn new(outcome: Outcome) -> Self {
        Entry { outcome, text: String::with_capacity(ROOM), lengths: [None; TEXTS] }
    }

    /// Writes a refusal in the place of the one that was here.
    fn write(&mut self, case: &Case) {
        self.outcome = case.outcome;
        self.text.clear();
        for (length, text) in self.lengths.iter_mut().zip(case.texts()) {
            let text = text.map(|text| shortened(text, LONGEST));
            *length = text.map(|text| text.len() as u16);
            self.text.push_str(text.unwrap_or_default());
        }
        for rule in case.rules() {
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
            method: method.unwrap_or_default(),
            path: path.unwrap_or_default(),
            route,
            target_service,
            client_ip: outcome.client_ip,
            user_id: user.zip(issuer).map(|(user, issuer)| format!("{user} ({issuer})")),
            status_code: outcome.status_code,
            error_code: outcome.error_code.map(String::from),
            detail,
            cause,
            violated_policies: rest.split_terminator(END).map(String::from).collect(),
            retry_after: outcome.retry_after,
            would_refuse,
        }
    }
}

impl<'a> Case<'a> {
    /// The texts in the order in which they are kept.
    fn texts(&self) -> [Option<&'a str>; TEXTS] {
        let (user, issuer) = self.user.unzip();
        [
            Some(self.request_id),
            Some(self.method),
            Some(self.path),
            self.route,
            self.target_service,
            user,
            issuer,
            self.detail,
            self.cause,
            self.would_refuse,
        ]
    }

    /// The names of the rules, as far as they are kept.
    fn rules(&self) -> impl Iterator<Item = &'a str> {
        let mut room = LONGEST;
        self.violated_policies.iter().map_while(move |rule| {
            let rule = Some(shortened(rule, room)).filter(|rule| !rule.is_empty())?;
            room = room.saturating_sub(rule.len() + END.len_utf8());
            Some(rule)
        })
    }
}

fn shortened(text: &str, longest: usize) -> &str {
    text.get(..text.floor_char_boundary(longest)).unwrap_or_default()
}
