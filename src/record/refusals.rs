//! The last refusals, to be found again by the request's id: what a client quotes from its error is what an operator asks
//! for.
//!
//! Bounded: the newest [`KEPT`], each text cut after [`LONGEST`] bytes, so some 20 MiB at the very worst and 2 MiB usually.
//! Requests that a policy on trial would have refused are kept too. Nothing here holds a credential or a query.

use std::collections::VecDeque;
use std::net::IpAddr;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Refusals that are kept.
const KEPT: usize = 4096;
/// Bytes of a text that are kept.
const LONGEST: usize = 512;

/// The last refusals.
#[derive(Default)]
pub struct Refusals {
    kept: Mutex<VecDeque<Refused>>,
}

/// A request that was refused, or would have been.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// The request's id.
    pub request_id: String,
    /// When it came.
    #[serde(with = "moment")]
    pub time: Timestamp,
    /// Its method.
    pub method: String,
    /// Its canonical path.
    pub path: String,
    /// The route it took.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub route: Option<String>,
    /// The service it was for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target_service: Option<String>,
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_ip: Option<IpAddr>,
    /// Who the user is, and who says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user_id: Option<String>,
    /// The status of the answer.
    pub status_code: u16,
    /// Why it was refused; absent if it was not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_code: Option<String>,
    /// What the client was told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// What the client was not told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<String>,
    /// The rules it was refused by.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub violated_policies: Vec<String>,
    /// After how many seconds it may be tried again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after: Option<u64>,
    /// What policies on trial would have refused it for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub would_refuse: Option<String>,
}

impl Refusals {
    /// Keeps a refusal, and forgets the oldest one if there are too many.
    pub fn keep(&self, refused: Refused) {
        let refused = refused.shortened();
        let mut kept = self.kept.lock();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(refused);
    }

    /// The newest refusal of a request with this id.
    pub fn find(&self, request_id: &str) -> Option<Refused> {
        self.kept.lock().iter().rev().find(|refused| refused.request_id == request_id).cloned()
    }
}

impl Refused {
    fn shortened(mut self) -> Self {
        let texts = [&mut self.request_id, &mut self.method, &mut self.path];
        let more = [&mut self.route, &mut self.user_id, &mut self.detail, &mut self.cause, &mut self.would_refuse];
        texts.into_iter().chain(more.into_iter().flatten()).for_each(shorten);
        self
    }
}

/// A moment as text, which nobody makes of it before it is asked for.
mod moment {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(moment)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

fn shorten(text: &mut String) {
    text.truncate(text.floor_char_boundary(LONGEST));
    text.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(id: usize) -> Refused {
        Refused { request_id: id.to_string(), path: "ä".repeat(LONGEST), ..Refused::default() }
    }

    #[test]
    fn the_newest_are_found() {
        let refusals = Refusals::default();
        (0..=KEPT).for_each(|id| refusals.keep(refused(id)));
        assert_eq!(refusals.find("0"), None);
        assert_eq!(refusals.find("1").unwrap().path.len(), LONGEST);
        refusals.keep(Refused { status_code: 429, ..refused(KEPT) });
        assert_eq!(refusals.find(&KEPT.to_string()).unwrap().status_code, 429);
        assert_eq!(refusals.kept.lock().len(), KEPT);
    }
}
