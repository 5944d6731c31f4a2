//! Which encoding a response gets (RFC 9110 12.5.3): the one the client gives the highest weight; of equal ones br, then
//! zstd, then gzip. What the client weighs 0, or less than no encoding at all, is not used.

/// An encoding we can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Brotli.
    Br,
    /// Zstandard.
    Zstd,
    /// Gzip.
    Gzip,
}

impl Coding {
    const ALL: [Coding; 3] = [Coding::Br, Coding::Zstd, Coding::Gzip];

    /// Its name in `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Coding::Br => "br",
            Coding::Zstd => "zstd",
            Coding::Gzip => "gzip",
        }
    }

    /// The memory its encoder takes, as measured at level 9, and somewhat more.
    pub fn memory(self) -> u64 {
        match self {
            Coding::Br => 4 << 20,
            Coding::Zstd => 3 << 19,
            Coding::Gzip => 3 << 18,
        }
    }
}

/// The best encoding for the values of `Accept-Encoding`; `None` for no encoding.
pub fn choose(values: &[&[u8]]) -> Option<Coding> {
    let weight = |name: &str| weight_of(values, name);
    let any = weight("*");
    let identity = weight("identity").unwrap_or(0);
    let weighed = Coding::ALL.map(|coding| (coding, weight(coding.name()).or(any).unwrap_or(0)));
    let mut best = None;
    for (coding, weight) in weighed {
        if weight > 0 && weight >= identity && best.is_none_or(|(_, most)| weight > most) {
            best = Some((coding, weight));
        }
    }
    best.map(|(coding, _)| coding)
}

/// A coding's weight in thousandths; `None` if it is not named. What can't be read counts as not named.
fn weight_of(values: &[&[u8]], name: &str) -> Option<u16> {
    values.iter().flat_map(|value| value.split(|byte| *byte == b',')).find_map(|entry| {
        let mut parts = entry.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let named = parts.next()?;
        let same =
            named.eq_ignore_ascii_case(name.as_bytes()) || (name == "gzip" && named.eq_ignore_ascii_case(b"x-gzip"));
        if !same {
            return None;
        }
        match parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q="))) {
            Some(weight) => thousandths(weight),
            None => Some(1000),
        }
    })
}

/// `0`, `0.5`, `1.000`: at most three digits after the point, at most 1.
fn thousandths(weight: &[u8]) -> Option<u16> {
    let (whole, fraction) = match weight {
        [whole] => (whole, &b""[..]),
        [whole, b'.', fraction @ ..] => (whole, fraction),
        _ => return None,
    };
    let digits = fraction.iter().map(|digit| digit.is_ascii_digit().then_some(u16::from(digit.wrapping_sub(b'0'))));
    let digits: Option<Vec<u16>> = digits.collect();
    let fraction = digits.filter(|digits| digits.len() <= 3)?;
    let fraction = fraction.iter().zip([100, 10, 1]).map(|(digit, place)| digit * place).sum::<u16>();
    match whole {
        b'0' => Some(fraction),
        b'1' if fraction == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_weight_wins_and_none_is_none() {
        let cases = [
            ("gzip", Some(Coding::Gzip)),
            ("gzip, deflate, br, zstd", Some(Coding::Br)),
            ("br;q=0.1, gzip;q=0.9", Some(Coding::Gzip)),
            ("GZIP ; q=0.8 , zstd;Q=0.9", Some(Coding::Zstd)),
            ("gzip;q=0", None),
            ("gzip;q=0, br;q=0.0", None),
            ("gzip;q=0.000, zstd", Some(Coding::Zstd)),
            ("*", Some(Coding::Br)),
            ("*, br;q=0", Some(Coding::Zstd)),
            ("*;q=0, gzip", Some(Coding::Gzip)),
            ("identity", None),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, gzip;q=0.5", Some(Coding::Gzip)),
            ("x-gzip", Some(Coding::Gzip)),
            ("deflate", None),
            ("gzip;q=2", None),
            ("gzip;q=0.1234", None),
            ("gzip;q=", None),
            (";;,,q=1", None),
            ("", None),
        ];
        for (accepted, wanted) in cases {
            assert_eq!(choose(&[accepted.as_bytes()]), wanted, "{accepted:?}");
        }
        assert_eq!(choose(&[b"gzip;q=0.5", b"zstd"]), Some(Coding::Zstd));
    }
}
