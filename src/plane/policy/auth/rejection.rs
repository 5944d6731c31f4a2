//! Why a token is not taken: a code for metrics and a sentence for its bearer (RFC 6750 3.1), and what was expected and found, for
//! the log.

use std::borrow::Cow;

/// Why a token is not taken. Of several, the greatest got furthest: from `Claim` on, its signature was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Longer than any token that is read.
    TooLong,
    /// It can't be read.
    Malformed,
    /// Nobody who is listed issued it.
    Issuer,
    /// Its algorithm is not one the issuer is allowed.
    Algorithm,
    /// It demands an extension (`crit`); none is known.
    Extension,
    /// The issuer has no such key.
    Key,
    /// The signature is not the issuer's.
    Signature,
    /// It can't be judged now: the issuer's keys were never fetched. No statement about the token: the request is refused
    /// with 503, not 401.
    Unavailable,
    /// A claim it must have is missing or is not what it must be.
    Claim,
    /// It is for others.
    Audience,
    /// It holds from a later time on.
    NotYetValid,
    /// It no longer holds.
    Expired,
}

impl Reason {
    /// Its name in metrics and logs.
    pub fn code(self) -> &'static str {
        match self {
            Reason::TooLong => "too_long",
            Reason::Malformed => "malformed",
            Reason::Issuer => "issuer",
            Reason::Algorithm => "algorithm",
            Reason::Extension => "extension",
            Reason::Key => "key",
            Reason::Signature => "signature",
            Reason::Unavailable => "unavailable",
            Reason::Claim => "claim",
            Reason::Audience => "audience",
            Reason::NotYetValid => "not_yet_valid",
            Reason::Expired => "expired",
        }
    }

    /// What its bearer may read: fit for `error_description`, without quotes and backslashes.
    pub fn sentence(self) -> &'static str {
        match self {
            Reason::TooLong => "the token is longer than 8 KiB",
            Reason::Malformed => "the token cannot be read",
            Reason::Issuer => "the token's issuer is not accepted here",
            Reason::Algorithm => "the token's algorithm is not accepted",
            Reason::Extension => "the token requires an unknown extension (crit)",
            Reason::Key => "the token's key is not known",
            Reason::Signature => "the token's signature is wrong",
            Reason::Unavailable => "the token cannot be checked now",
            Reason::Claim => "a claim of the token is missing or wrong",
            Reason::Audience => "the audience of the token does not match",
            Reason::NotYetValid => "the token is not valid yet",
            Reason::Expired => "the token has expired",
        }
    }
}

/// A token that is not taken, and what is to be said of it.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// Why not.
    pub reason: Reason,
    told: Option<Box<Told>>,
}

#[derive(Clone, Debug)]
struct Told {
    sentence: Option<Cow<'static, str>>,
    cause: String,
}

impl Rejection {
    /// With what was expected and found.
    pub fn because(reason: Reason, cause: String) -> Rejection {
        Rejection { reason, told: Some(Box::new(Told { sentence: None, cause })) }
    }

    /// The same, with a sentence for the token's bearer that says more than the reason does.
    pub fn saying(mut self, sentence: String) -> Rejection {
        if let Some(told) = &mut self.told {
            told.sentence = Some(sentence.into());
        }
        self
    }

    /// What its bearer may read.
    pub fn sentence(&self) -> Cow<'static, str> {
        let told = self.told.as_ref().and_then(|told| told.sentence.clone());
        told.unwrap_or(self.reason.sentence().into())
    }

    /// What the log may read.
    pub fn cause(&self) -> Option<&str> {
        self.told.as_ref().map(|told| told.cause.as_str())
    }

    /// Of two, the one that got further.
    pub fn furthest(self, other: Option<Rejection>) -> Rejection {
        match other {
            Some(other) if other.reason >= self.reason => other,
            _ => self,
        }
    }
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Rejection { reason, told: None }
    }
}
