//! Asks other servers for what is needed to know a client: keys of issuers, decisions about tokens.
//!
//! No redirect is followed, no proxy of the environment used, no compressed answer asked for. An answer has a deadline as a
//! whole and a length it may not exceed. What went wrong is told without the address, which may hold secrets.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use gatekeeper_model::files;
use http::{HeaderMap, Method, StatusCode};
use reqwest::redirect::Policy;
use reqwest::{Certificate, RequestBuilder, Url};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Servers close idle connections after 5 s and more.
const IDLE: Duration = Duration::from_secs(4);

/// What an address may be, for people.
pub const ALLOWED: &str =
    "a URL with https, or with http on loopback (elsewhere with allow_http); no user, no fragment";

/// The address a text is, if it may be asked.
pub fn address(text: &str, allow_http: bool) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']);
    let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let is_safe = url.scheme() == "https" || url.scheme() == "http" && (allow_http || is_loopback);
    let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    (is_safe && is_plain).then_some(url)
}

/// The address a text is that came from this one, if it leads no less safely and no nearer to this machine than that did.
pub fn address_by(source: &Url, text: &str, allow_http: bool) -> Result<Url, &'static str> {
    let url = address(text, allow_http).ok_or("is not https")?;
    if url.scheme() != source.scheme() && url.scheme() == "http" && !allow_http {
        return Err("is not https, unlike the URL that it came from");
    }
    if is_near(&url) && !is_near(source) {
        return Err("points to this machine or its network");
    }
    Ok(url)
}

/// Whether an address says by itself that it is on this machine or in its network. (What a name resolves to is not looked at.)
fn is_near(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).trim_end_matches('.');
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => {
            address.is_loopback()
                || address.is_private()
                || address.is_link_local()
                || address.is_unspecified()
                || address.is_broadcast()
        }
        Ok(IpAddr::V6(address)) => {
            address.is_loopback()
                || address.is_unspecified()
                || address.is_unique_local()
                || address.is_unicast_link_local()
        }
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// Authorities that are believed beside the system's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities(Arc<[CertificateDer<'static>]>);

impl Authorities {
    /// Reads a PEM file.
    pub fn read(path: &str) -> Result<Self, String> {
        let pem = files::read(path).map_err(|error| files::unreadable(path, &error))?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let certificates = certificates.map_err(|error| format!("{path} is not PEM: {error}"))?;
        if certificates.is_empty() {
            return Err(format!("{path} holds no certificate"));
        }
        let mut store = RootCertStore::empty();
        match certificates.iter().try_for_each(|certificate| store.add(certificate.clone())) {
            Ok(()) => Ok(Authorities(certificates.into())),
            Err(error) => Err(format!("{path} holds a certificate that can't be used: {error}")),
        }
    }
}

/// Asks other servers.
#[derive(Clone)]
pub struct Client(reqwest::Client);

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// All of its body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// It did not come in time.
    TooSlow,
    /// It is longer than so many bytes.
    TooLong(usize),
    /// The server can't be reached or does not speak as it should.
    Broken(String),
}

impl Client {
    /// A client that believes the system's authorities and these.
    pub fn new(authorities: Option<&Authorities>) -> Result<Self, String> {
        // Without effect if it was done before.
        rustls::crypto::ring::default_provider().install_default().ok();
        let certificates = authorities.iter().flat_map(|authorities| authorities.0.iter());
        let certificates: Result<Vec<_>, _> = certificates.map(|der| Certificate::from_der(der)).collect();
        let client = reqwest::Client::builder()
            .user_agent("gatekeeper")
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE)
            .tls_certs_merge(certificates.map_err(|error| told(&error))?);
        client.build().map(Client).map_err(|error| told(&error))
    }

    /// A request that is yet to be sent.
    pub fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.0.request(method, url)
    }

    /// Sends a request; the answer is read whole.
    pub async fn send(&self, request: RequestBuilder, timeout: Duration, longest: usize) -> Result<Answer, Failure> {
        let mut response = request.timeout(timeout).send().await?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > longest {
                return Err(Failure::TooLong(longest));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status: response.status(), headers: std::mem::take(response.headers_mut()), body })
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() { Failure::TooSlow } else { Failure::Broken(told(&error.without_url())) }
    }
}

/// An error and its causes.
fn told(error: &dyn Error) -> String {
    let (mut text, mut error) = (error.to_string(), error);
    while let Some(cause) = error.source() {
        text = format!("{text}: {cause}");
        error = cause;
    }
    text
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::TooSlow => f.write_str("the answer took too long"),
            Failure::TooLong(longest) => write!(f, "the answer is longer than {longest} bytes"),
            Failure::Broken(why) => f.write_str(why),
        }
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_safe_ones() {
        for text in
            ["https://x/", "https://x:8443/a?b=c", "http://localhost:1/", "http://127.9.8.7/", "http://[::1]:1/"]
        {
            assert!(address(text, false).is_some(), "{text}");
        }
        for text in ["http://x/", "http://localhost.x/", "http://10.0.0.1/", "http://[::2]/", "http://127.0.0.1.x/"] {
            assert!(address(text, false).is_none() && address(text, true).is_some(), "{text}");
        }
        for text in [
            "",
            "x",
            "/a",
            "file:///etc/passwd",
            "ftp://x/",
            "https://u@x/",
            "https://u:p@x/",
            "https://x/#a",
            "https://",
        ] {
            assert!(address(text, true).is_none(), "{text}");
        }
    }

    #[test]
    fn what_others_say_leads_no_nearer_and_no_less_safely() {
        let by =
            |source: &str, text: &str, allow_http| address_by(&Url::parse(source).unwrap(), text, allow_http).is_ok();
        for text in ["https://x/k", "https://keys.y:8443/k?a=b", "https://192.0.2.1/k"] {
            assert!(by("https://x/", text, false) && by("http://localhost:1/", text, false), "{text}");
        }
        for text in ["http://127.0.0.1/k", "http://localhost/k", "http://[::1]:80/k", "http://[::ffff:127.0.0.1]/"] {
            assert!(!by("https://x/", text, false) && !by("https://x/", text, true), "{text}");
            assert!(!by("https://localhost/", text, false), "{text}");
        }
        for text in [
            "https://127.0.0.1/k",
            "https://2130706433/k",
            "https://LOCALHOST./k",
            "https://a.localhost/k",
            "https://169.254.169.254/latest",
            "https://10.0.0.1/k",
            "https://0.0.0.0/k",
            "https://[::ffff:7f00:1]/k",
            "https://[fe80::1]/k",
            "https://[fd00::1]/k",
        ] {
            assert!(!by("https://x/", text, true), "{text}");
            assert!(by("https://10.1.1.1/", text, false), "{text}");
        }
        assert!(by("http://127.0.0.1:9/", "http://localhost:8/k", false));
        assert!(!by("https://x/", "http://y/k", false) && by("https://x/", "http://y/k", true));
        assert!(!by("https://x/", "ftp://x/", true) && !by("https://x/", "https://u@x/", true));
    }

    #[test]
    fn authorities_are_a_pem_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let read = |text: &str| {
            std::fs::write(path, text).unwrap();
            Authorities::read(path)
        };
        assert!(read("").unwrap_err().ends_with("holds no certificate"));
        assert!(
            read("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
                .unwrap_err()
                .contains("can't be used")
        );
        assert!(Authorities::read("/nowhere").unwrap_err().starts_with("cannot read /nowhere: "));
        let pem = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap().cert.pem();
        let authorities = read(&pem).unwrap();
        assert_eq!(authorities, read(&pem).unwrap());
        assert!(Client::new(Some(&authorities)).is_ok());
    }
}
