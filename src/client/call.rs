//! One call of the API: a request to a resource, and its answer as the type that the resource has.

use std::error::Error;
use std::time::Duration;

use gatekeeper_model::secret::Secret;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;

use crate::{BASE, Failure, TOTAL_COUNT};

/// No answer of a gateway is longer: whoever answers in its place shall not fill the memory.
const LARGEST_ANSWER: usize = 64 << 20;

/// Where a gateway is reached, and the token that it asks for.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    http: reqwest::Client,
    address: String,
    base: Url,
    token: Secret,
    pub(crate) patience: Duration,
}

impl Connection {
    /// A connection that is made with the first call.
    pub(crate) fn new(address: &str, token: Secret, patience: Duration) -> Result<Self, Failure> {
        // An HTTP client needs a provider. This fails only if there is one.
        rustls::crypto::ring::default_provider().install_default().ok();
        let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let (builder, origin) = match address.strip_prefix("unix:") {
            Some(path) => (builder.unix_socket(path), "http://localhost".to_owned()),
            None if address.contains("://") => (builder, address.trim_end_matches('/').to_owned()),
            None => (builder, format!("http://{address}")),
        };
        let http = builder.build().map_err(|error| Failure::Unusable(error.to_string()))?;
        let invalid = |why: &str| Failure::Invalid(format!("{address:?} is not an address: {why}"));
        let mut base = Url::parse(&origin).map_err(|error| invalid(&error.to_string()))?;
        let is_web = matches!(base.scheme(), "http" | "https") && base.path() == "/" && base.query().is_none();
        if !is_web || !base.username().is_empty() || base.password().is_some() {
            return Err(invalid("write http://HOST:PORT"));
        }
        base.set_path(BASE);
        Ok(Connection { http, address: address.to_owned(), base, token, patience })
    }

    /// A request to the resource at this path, whose segments may hold any character.
    pub(crate) fn request(&self, method: Method, path: &[&str]) -> Result<RequestBuilder, Failure> {
        // A URL takes these for steps in a path, even if they are escaped.
        if let Some(segment) = path.iter().find(|segment| matches!(**segment, "" | "." | "..")) {
            return Err(Failure::Invalid(format!("{segment:?} is not a name")));
        }
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path);
        }
        Ok(self.http.request(method, url).bearer_auth(self.token.reveal()).timeout(self.patience))
    }

    /// Sends a request whose answer has a body.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let response = self.accepted(request).await?;
        self.read(response).await
    }

    /// Sends a request whose answer is a text.
    pub(crate) async fn ask_text(&self, request: RequestBuilder) -> Result<String, Failure> {
        let response = self.accepted(request).await?;
        let body = self.whole(response).await?;
        String::from_utf8(body).map_err(|_| self.not_a_gatekeeper())
    }

    /// Sends a request whose answer is a stream, which goes on as long as its listener wants more.
    pub(crate) async fn listen(
        &self,
        request: RequestBuilder,
        mut heard: impl FnMut(&[u8]) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let mut response = self.accepted(request).await?;
        while let Some(piece) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if !heard(&piece)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Sends a request for a page of a list; also how long the whole list is.
    pub(crate) async fn ask_page<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<(usize, Vec<T>), Failure> {
        let response = self.accepted(request).await?;
        let total = response.headers().get(TOTAL_COUNT).and_then(|total| total.to_str().ok()?.parse().ok());
        let page: Vec<T> = self.read(response).await?;
        Ok((total.unwrap_or(page.len()), page))
    }

    /// Sends a request whose answer has no body.
    pub(crate) async fn order(&self, request: RequestBuilder) -> Result<(), Failure> {
        match self.accepted(request).await?.status() {
            StatusCode::NO_CONTENT => Ok(()),
            _ => Err(self.not_a_gatekeeper()),
        }
    }

    /// Sends a request whose answer has the same body with a status that is no success.
    pub(crate) async fn ask_whatever_the_status<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        status: StatusCode,
    ) -> Result<T, Failure> {
        let response = self.send(request).await?;
        let is_expected = response.status() == status;
        let response = if is_expected { response } else { self.successful(response).await? };
        self.read(response).await
    }

    async fn accepted(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = self.send(request).await?;
        self.successful(response).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    async fn successful(&self, response: Response) -> Result<Response, Failure> {
        if response.status().is_success() {
            return Ok(response);
        }
        Err(Failure::Refused(Box::new(self.read(response).await?)))
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let body = self.whole(response).await?;
        serde_json::from_slice(&body).map_err(|error| match error.is_data() {
            true => Failure::Unexpected(error),
            false => self.not_a_gatekeeper(),
        })
    }

    async fn whole(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if body.len() + piece.len() > LARGEST_ANSWER {
                return Err(Failure::TooLarge { address: self.address.clone() });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    fn not_a_gatekeeper(&self) -> Failure {
        Failure::NotAGatekeeper { address: self.address.clone() }
    }

    /// The innermost cause is what the system says; those around it only repeat that a request failed.
    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let mut cause: &dyn Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Failure::Unreachable { address: self.address.clone(), cause: cause.to_string() }
    }
}
