//! What a listener may be called: routes, tests and questions name one by its `name`, or by its address as it is written.

use std::fmt;

use gatekeeper_model::did_you_mean;
use gatekeeper_model::raw::Listen;

/// What a listener may be called.
#[derive(Clone, Copy)]
pub struct Called<'a> {
    /// Its name, if it has one.
    pub name: Option<&'a str>,
    /// Its address, as it is written.
    pub address: &'a str,
}

/// Why a text names no listener: a sentence, and what may help.
pub struct Unknown {
    /// The sentence.
    pub text: String,
    /// What may help.
    pub hint: String,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.text, self.hint)
    }
}

impl<'a> Called<'a> {
    /// What one of the configuration is called.
    pub fn of(raw: &'a Listen) -> Self {
        Called { name: raw.name.as_deref(), address: &raw.address }
    }

    /// What it is shown as.
    pub fn shown(self) -> &'a str {
        self.name.unwrap_or(self.address)
    }
}

/// The one of these listeners that a text names.
pub fn named(listeners: &[Called], text: &str) -> Result<usize, Unknown> {
    let is_meant = |(_, called): &(usize, &Called)| called.name == Some(text) || called.address == text;
    let mut meant = listeners.iter().enumerate().filter(is_meant).map(|(index, _)| index);
    match (meant.next(), meant.next()) {
        (Some(index), None) => Ok(index),
        (Some(_), Some(_)) => {
            let text = format!("several listeners have the address {text:?}");
            Err(Unknown { text, hint: "give them names".into() })
        }
        (None, _) => {
            let known: Vec<&str> = listeners.iter().map(|called| called.shown()).collect();
            let hint = did_you_mean(text, known.iter().copied());
            let hint = hint.unwrap_or_else(|| format!("declared: {}", known.join(", ")));
            Err(Unknown { text: format!("there is no listener {text:?}"), hint })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTENERS: [Called; 4] = [
        Called { name: Some("public"), address: "0.0.0.0:443" },
        Called { name: None, address: "10.0.0.1:443" },
        Called { name: None, address: "127.0.0.1:0" },
        Called { name: Some("inside"), address: "127.0.0.1:0" },
    ];

    #[test]
    fn a_listener_is_meant_by_name_or_address() {
        let found = |text| named(&LISTENERS, text).map_err(|unknown| unknown.to_string());
        for (text, listener) in [("public", 0), ("0.0.0.0:443", 0), ("10.0.0.1:443", 1), ("inside", 3)] {
            assert_eq!(found(text), Ok(listener), "{text}");
        }
        let several = "several listeners have the address \"127.0.0.1:0\"; give them names";
        assert_eq!(found("127.0.0.1:0").unwrap_err(), several);
        assert_eq!(found("pubic").unwrap_err(), "there is no listener \"pubic\"; did you mean \"public\"?");
        let declared = "declared: public, 10.0.0.1:443, 127.0.0.1:0, inside";
        assert_eq!(found("elsewhere").unwrap_err(), format!("there is no listener \"elsewhere\"; {declared}"));
    }
}
