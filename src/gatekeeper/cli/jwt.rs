//! `jwt`: mints a token for development, signed by a secret of the configuration or by a private key.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::{Failure, Options, Outcome, load_for_administration};
use gatekeeper_model::files;
use gatekeeper_model::raw::{Config, Issuer};
use gatekeeper_model::value::Period;
use gatekeeper_plane::policy::auth::identity::Claims;

#[derive(clap::Args)]
pub struct Args {
    /// The user (the claim `sub`)
    #[arg(long, value_name = "USER", default_value = "developer")]
    sub: String,
    /// A role of the user; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A scope of the token; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// More claims, as a JSON object
    #[arg(long, value_name = "JSON")]
    claims: Option<String>,
    /// The lifetime of the token
    #[arg(long, value_name = "TIME", default_value = "1h")]
    ttl: Period,
    /// The issuer, one of the configuration [default: the first with a secret]
    #[arg(long, value_name = "ISSUER")]
    issuer: Option<String>,
    /// Sign with this private key (a PEM file) instead of a secret
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// The algorithm, such as RS256; needed with --private-key if the issuer lists none [default: the issuer's first, else
    /// HS256]
    #[arg(long, value_name = "ALGORITHM")]
    algorithm: Option<String>,
    /// The key id (`kid`) in the header of the token
    #[arg(long, value_name = "NAME")]
    kid: Option<String>,
}

/// Prints a token.
pub fn run(options: &Options, args: &Args) -> Outcome {
    let config = load_for_administration(options)?;
    let token = mint(&config, args)?;
    options.print(&json!({ "token": token }), format_args!("{token}\n"))
}

fn mint(config: &Config, args: &Args) -> Result<String, Failure> {
    let issuer = issuer(config, args)?;
    let name = algorithm(issuer, args)?;
    let algorithm: Algorithm = name
        .parse()
        .map_err(|_| Failure::Usage(format!("unknown algorithm {name:?}; use HS256 or RS256, for example")))?;
    let key = key(issuer, args, algorithm)?;
    let header = Header { kid: args.kid.clone(), ..Header::new(algorithm) };
    encode(&header, &claims(issuer, args)?, &key)
        .map_err(|error| Failure::Refused(format!("cannot sign a token by {name} with this key: {error}")))
}

/// The name of the algorithm. Only that of a secret can be guessed.
fn algorithm<'a>(issuer: &'a Issuer, args: &'a Args) -> Result<&'a str, Failure> {
    match args.algorithm.as_ref().or(issuer.algorithms.first()) {
        Some(name) => Ok(name),
        None if args.private_key.is_none() => Ok("HS256"),
        None => Err(Failure::Usage(
            "this issuer has no algorithms: give the one of the private key with --algorithm, such as RS256".into(),
        )),
    }
}

/// A token for trying the gateway out: by the first secret there is.
pub fn sample(config: &Config) -> Option<String> {
    let issuer = config.auth.as_ref()?.jwt.iter().find(|issuer| issuer.secret.is_some())?;
    let key = EncodingKey::from_secret(issuer.secret.as_ref()?.reveal().as_bytes());
    let claims = standard_claims(issuer, "developer", 12 * 3600);
    let algorithm = issuer.algorithms.first().and_then(|name| name.parse().ok()).unwrap_or(Algorithm::HS256);
    encode(&Header::new(algorithm), &claims, &key).ok()
}

fn issuer<'c>(config: &'c Config, args: &Args) -> Result<&'c Issuer, Failure> {
    let issuers = config.auth.iter().flat_map(|auth| &auth.jwt);
    let fits = |issuer: &&Issuer| match &args.issuer {
        Some(name) => issuer.issuer.as_ref() == Some(name),
        None => issuer.secret.is_some() || args.private_key.is_some(),
    };
    issuers.into_iter().find(fits).ok_or_else(|| {
        Failure::Refused(match &args.issuer {
            Some(name) => format!("auth.jwt has no issuer {name:?}"),
            None => "auth.jwt has no issuer with a secret; choose an issuer with --issuer, and sign with --private-key"
                .into(),
        })
    })
}

fn key(issuer: &Issuer, args: &Args, algorithm: Algorithm) -> Result<EncodingKey, Failure> {
    let wrong = |why: String| Failure::Refused(why);
    let Some(file) = &args.private_key else {
        let secret =
            issuer.secret.as_ref().ok_or_else(|| wrong("this issuer has no secret; sign with --private-key".into()))?;
        return Ok(EncodingKey::from_secret(secret.reveal().as_bytes()));
    };
    let pem = files::read(file).map_err(|error| wrong(files::unreadable(file.display(), &error)))?;
    let key = match format!("{algorithm:?}").as_bytes() {
        [b'E', b'S', ..] => EncodingKey::from_ec_pem(&pem),
        [b'E', b'd', ..] => EncodingKey::from_ed_pem(&pem),
        _ => EncodingKey::from_rsa_pem(&pem),
    };
    key.map_err(|error| wrong(format!("{} does not contain a key for {algorithm:?}: {error}", file.display())))
}

fn standard_claims(issuer: &Issuer, subject: &str, life: u64) -> Claims {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let subject_claim = issuer.subject_claim.as_deref().unwrap_or("sub");
    let mut claims = Claims::new();
    claims.insert(subject_claim.into(), subject.into());
    claims.insert("iat".into(), now.into());
    claims.insert("exp".into(), (now + life).into());
    for (name, value) in [("iss", &issuer.issuer), ("aud", &issuer.audience)] {
        value.as_ref().and_then(|value| claims.insert(name.into(), value.as_str().into()));
    }
    claims
}

fn claims(issuer: &Issuer, args: &Args) -> Result<Claims, Failure> {
    let mut claims = standard_claims(issuer, &args.sub, args.ttl.0.as_secs());
    if !args.roles.is_empty() {
        put(&mut claims, issuer.roles_claim.as_deref().unwrap_or("roles"), json!(args.roles));
    }
    if !args.scopes.is_empty() {
        claims.insert("scope".into(), args.scopes.join(" ").into());
    }
    let more: Claims = match &args.claims {
        Some(text) => serde_json::from_str(text).map_err(|error| Failure::Usage(format!("--claims: {error}")))?,
        None => Claims::new(),
    };
    let roles = issuer.roles_claim.as_deref().unwrap_or("roles").split('.').next().unwrap_or_default();
    let given = [(roles, "--role", !args.roles.is_empty()), ("scope", "--scope", !args.scopes.is_empty())];
    if let Some((name, option, _)) = given.iter().find(|(name, _, is_given)| *is_given && more.contains_key(*name)) {
        return Err(Failure::Usage(format!(
            "the claim {name:?} is given by {option} and by --claims: use one of them"
        )));
    }
    claims.extend(more);
    Ok(claims)
}

/// Puts a value where a dotted name leads.
fn put(claims: &mut Claims, name: &str, value: Value) {
    match name.split_once('.') {
        None => {
            claims.insert(name.into(), value);
        }
        Some((first, rest)) => {
            let mut within = Claims::new();
            put(&mut within, rest, value);
            claims.insert(first.into(), Value::Object(within));
        }
    }
}
