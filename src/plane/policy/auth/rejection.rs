//! Why a token is not taken: a code for metrics and a sentence for its bearer (RFC 6750 3.1).

/// Why a token is not taken. Of several, the greatest got furthest: from `Claim` on, its signature was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rejection {
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

impl Rejection {
    /// Its name in metrics and logs.
    pub fn code(self) -> &'static str {
        match self {
            Rejection::TooLong => "too_long",
            Rejection::Malformed => "malformed",
            Rejection::Issuer => "issuer",
            Rejection::Algorithm => "algorithm",
            Rejection::Extension => "extension",
            Rejection::Key => "key",
            Rejection::Signature => "signature",
            Rejection::Unavailable => "unavailable",
            Rejection::Claim => "claim",
            Rejection::Audience => "audience",
            Rejection::NotYetValid => "not_yet_valid",
            Rejection::Expired => "expired",
        }
    }

    /// What its bearer may read: fit for `error_description`, without quotes and backslashes.
    pub fn sentence(self) -> &'static str {
        match self {
            Rejection::TooLong => "the token is longer than 8 KiB",
            Rejection::Malformed => "the token can't be read",
            Rejection::Issuer => "the token's issuer is not accepted here",
            Rejection::Algorithm => "the token's algorithm is not accepted",
            Rejection::Extension => "the token demands an extension that is not known here",
            Rejection::Key => "the token's key is not known",
            Rejection::Signature => "the token's signature is wrong",
            Rejection::Unavailable => "the token can't be checked now",
            Rejection::Claim => "a claim of the token is missing or wrong",
            Rejection::Audience => "the token is not meant for this service",
            Rejection::NotYetValid => "the token is not valid yet",
            Rejection::Expired => "the token has expired",
        }
    }
}
