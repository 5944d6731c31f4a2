//! `token`: who may use the API of the running gateway.

use gatekeeper_client::{NewToken, Period, Token, TokenMade};

use super::services::laid_out;
use super::{Options, Outcome, reach};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Create a token; its secret is printed once
    Create {
        /// Its name, such as the one of the program that uses it
        name: String,
        /// viewer (read), operator (read, reset, drain, register) or admin (everything)
        #[arg(long, default_value = "viewer", value_parser = ["viewer", "operator", "admin"])]
        role: String,
        /// How long it is valid, such as 90d [default: until it is revoked]
        #[arg(long, value_name = "TIME")]
        expires_in: Option<Period>,
    },
    /// List the tokens
    List,
    /// Give a token a new secret; the old one stops to work
    Rotate {
        /// The name or id of the token
        name: String,
    },
    /// Revoke a token
    Revoke {
        /// The name or id of the token
        name: String,
    },
}

/// Runs a command on the tokens.
pub fn run(options: &Options, command: &Command) -> Outcome {
    match command {
        Command::Create { name, role, expires_in } => {
            let token = NewToken { name: name.clone(), role: role.clone(), expires_in: *expires_in };
            made(options, reach::call(options, async |gateway| gateway.create_token(&token).await)?)
        }
        Command::Rotate { name } => {
            made(options, reach::call(options, async |gateway| gateway.rotate_token(name).await)?)
        }
        Command::List => list(options),
        Command::Revoke { name } => {
            reach::call(options, async |gateway| gateway.revoke_token(name).await)?;
            options.print(&serde_json::json!({"revoked": name}), format_args!("revoked {name}\n"))
        }
    }
}

fn made(options: &Options, made: TokenMade) -> Outcome {
    let text = format!("{}   (for {}; it is not shown again)\n", made.secret, made.token.name);
    options.print(&made, text)
}

fn list(options: &Options) -> Outcome {
    let tokens = reach::call(options, async |gateway| gateway.tokens().await)?;
    let short = |time: &Option<String>, none: &str| {
        time.as_deref().map_or(none.to_owned(), |time| time.split('.').next().unwrap_or_default().replace('T', " "))
    };
    let row = |token: &Token| {
        let (ends, used) = (short(&token.expires_at, "never"), short(&token.last_used_at, "never"));
        [token.name.clone(), token.role.clone(), ends, used]
    };
    let rows: Vec<_> = tokens.iter().map(row).collect();
    options.print(&tokens, laid_out(["NAME", "ROLE", "ENDS (UTC)", "LAST USE (UTC)"], &rows)?)
}
