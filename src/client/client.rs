//! The client: a method for each endpoint.

use std::time::Duration;

use gatekeeper_core::reports::{Explanation, LimitStanding, Refused};
use gatekeeper_model::secret::Secret;
use gatekeeper_model::value::Period;
use reqwest::{Method, StatusCode};

use crate::api::change::{Reloaded, Upgraded};
use crate::api::explain::Inquiry;
use crate::api::health::{AggregatedHealth, ServiceHealth};
use crate::api::limits::RuleState;
use crate::api::parameters::{Instance, Page, Part, Subject, Upgrading};
use crate::api::registration::Registration;
use crate::api::status::Status;
use crate::call::Connection;
use crate::failure::Failure;

/// A reload may look up names, and compile a hundred thousand routes.
const PATIENCE: Duration = Duration::from_secs(60);
/// The time that an upgrade may take in addition to the start of the new process.
const UPGRADE_MARGIN: Duration = Duration::from_secs(10);

/// A client of a gateway's administration API.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) connection: Connection,
}

/// A page of the services.
#[derive(Clone, Debug, PartialEq)]
pub struct Services {
    /// How many services there are.
    pub total: usize,
    /// The services of this page.
    pub page: Vec<ServiceHealth>,
}

impl Client {
    /// A client of the gateway with this administration address: `127.0.0.1:8001`, a URL with `http` or `https`, or
    /// `unix:` and a path. It waits a minute for an answer.
    pub fn new(address: &str, token: Secret) -> Result<Self, Failure> {
        Ok(Client { connection: Connection::new(address, token, PATIENCE)? })
    }

    /// The same client with another timeout for answers.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.connection.patience = patience;
        self
    }

    /// The state of the gateway.
    pub async fn status(&self) -> Result<Status, Failure> {
        let request = self.connection.request(Method::GET, &["status"])?;
        self.connection.ask(request).await
    }

    /// The health of all services together, and of each of them.
    pub async fn health(&self) -> Result<AggregatedHealth, Failure> {
        let request = self.connection.request(Method::GET, &["health"])?;
        // This is the status of the answer when the services are unhealthy.
        self.connection.ask_whatever_the_status(request, StatusCode::SERVICE_UNAVAILABLE).await
    }

    /// Makes the gateway read its configuration again. The answer comes when the new configuration serves.
    pub async fn reload(&self) -> Result<Reloaded, Failure> {
        let request = self.connection.request(Method::POST, &["config", "reload"])?;
        self.connection.ask(request).await
    }

    /// Replaces the running process with the installed program. The timeout is for the start of the new process.
    pub async fn upgrade(&self, timeout: Period) -> Result<Upgraded, Failure> {
        let request = self.connection.request(Method::POST, &["upgrade"])?;
        let request = request.query(&Upgrading { timeout }).timeout(timeout.0 + UPGRADE_MARGIN);
        self.connection.ask(request).await
    }

    /// Explains how a request would be routed and judged, with the current counts of rate limits.
    pub async fn explain(&self, inquiry: &Inquiry) -> Result<Explanation, Failure> {
        let request = self.connection.request(Method::POST, &["explain"])?;
        self.connection.ask(request.json(inquiry)).await
    }

    /// Why the request with this id was refused.
    pub async fn why(&self, request_id: &str) -> Result<Refused, Failure> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if request_id.is_empty() || !request_id.bytes().all(is_plain) {
            return Err(Failure::Invalid(format!("{request_id:?} is not a request id")));
        }
        let request = self.connection.request(Method::GET, &["why", request_id])?;
        self.connection.ask(request).await
    }

    /// The rate limits, and what they have decided.
    pub async fn rate_limits(&self) -> Result<Vec<RuleState>, Failure> {
        let request = self.connection.request(Method::GET, &["rate-limits"])?;
        self.connection.ask(request).await
    }

    /// How much of the rate limits a subject has used.
    pub async fn rate_limit_standings(&self, subject: &Subject) -> Result<Vec<LimitStanding>, Failure> {
        let request = self.connection.request(Method::GET, &["rate-limits", "status"])?;
        self.connection.ask(request.query(subject)).await
    }

    /// A page of the services, in the order of their names.
    pub async fn services(&self, page: Page) -> Result<Services, Failure> {
        let request = self.connection.request(Method::GET, &["services"])?;
        let (total, page) = self.connection.ask_page(request.query(&page)).await?;
        Ok(Services { total, page })
    }

    /// All services, page by page.
    pub async fn all_services(&self) -> Result<Vec<ServiceHealth>, Failure> {
        let mut all = Vec::new();
        loop {
            let Services { page, .. } = self.services(Page { limit: Page::LONGEST, offset: all.len() }).await?;
            let is_last = page.len() < Page::LONGEST;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// The service with this name.
    pub async fn service(&self, name: &str) -> Result<ServiceHealth, Failure> {
        let request = self.connection.request(Method::GET, &["services", name])?;
        self.connection.ask(request).await
    }

    /// Closes a service's circuit breaker and ends the ejections of its targets. If a target is named by its URL, only the
    /// ejections of this one end.
    pub async fn reset(&self, name: &str, target: Option<&str>) -> Result<ServiceHealth, Failure> {
        self.act(name, target, "reset").await
    }

    /// Sends no new requests to a service, or to one of its targets, named by its URL. Requests in flight finish.
    pub async fn drain(&self, name: &str, target: Option<&str>) -> Result<ServiceHealth, Failure> {
        self.act(name, target, "drain").await
    }

    /// Ends a drain.
    pub async fn undrain(&self, name: &str, target: Option<&str>) -> Result<ServiceHealth, Failure> {
        self.act(name, target, "undrain").await
    }

    async fn act(&self, name: &str, target: Option<&str>, action: &str) -> Result<ServiceHealth, Failure> {
        let request = self.connection.request(Method::POST, &["services", name, action])?;
        let part = Part { target: target.map(String::from) };
        self.connection.ask(request.query(&part)).await
    }

    /// Registers an instance of a service, or renews its registration with new values.
    pub async fn register(&self, registration: &Registration) -> Result<Registration, Failure> {
        let request = self.connection.request(Method::POST, &["services"])?;
        self.connection.ask(request.json(registration)).await
    }

    /// Renews the registration of an instance.
    pub async fn heartbeat(&self, name: &str, service_url: &str) -> Result<(), Failure> {
        let request = self.connection.request(Method::POST, &["services", name, "heartbeat"])?;
        let instance = Instance { service_url: service_url.to_owned() };
        self.connection.order(request.json(&instance)).await
    }

    /// Deregisters an instance.
    pub async fn deregister(&self, name: &str, service_url: &str) -> Result<(), Failure> {
        let request = self.connection.request(Method::DELETE, &["services", name])?;
        let instance = Instance { service_url: service_url.to_owned() };
        self.connection.order(request.query(&instance)).await
    }
}
