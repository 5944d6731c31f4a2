//! Somebody who administers a gateway over its API.

use http::Method;
use serde_json::Value;

use super::{Answer, Client, Gateway, Request, full};

const BASE: &str = "/api/v1/gateway";

/// Somebody with a token.
#[derive(Clone)]
pub struct Administrator {
    /// An address, or `unix:` and a path.
    gateway: String,
    token: String,
}

impl Administrator {
    /// The holder of the gateway's own token.
    pub fn of(gateway: &Gateway) -> Administrator {
        let token = std::fs::read_to_string(gateway.file("state/admin.token")).unwrap();
        let socket = gateway.file("admin.sock");
        let address = match socket.exists() {
            true => format!("unix:{}", socket.display()),
            false => announced(gateway),
        };
        Administrator { gateway: address, token: token.trim().into() }
    }

    /// The holder of another token.
    pub fn with(&self, token: &str) -> Administrator {
        Administrator { gateway: self.gateway.clone(), token: token.into() }
    }

    /// A request with these headers and this body.
    pub async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.try_to_ask(method, path, headers, body).await.unwrap()
    }

    /// The same of a gateway that may be killed meanwhile.
    pub async fn try_to_ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> hyper::Result<Answer> {
        let mut request = Request::builder().method(method).uri(format!("{BASE}{path}"));
        request = request.header("authorization", format!("Bearer {}", self.token));
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut client = match self.gateway.strip_prefix("unix:") {
            Some(path) => Client::unix(path).await,
            None => Client::h1(self.gateway.parse().unwrap()).await,
        };
        let response = client.send(request.header("host", "localhost").body(full(body.to_owned())).unwrap()).await?;
        Answer::collect(response).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, &[], &body.to_string()).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::PUT, path, &[], &body.to_string()).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::PATCH, path, &[], &body.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, &[], "").await
    }
}

/// Where the gateway says that its administration answers.
fn announced(gateway: &Gateway) -> String {
    let began = std::time::Instant::now();
    loop {
        let note = std::fs::read(gateway.file("state/running.json")).ok();
        let note: Option<Value> = note.and_then(|note| serde_json::from_slice(&note).ok());
        if let Some(note) = note {
            return note["admin"].as_str().unwrap().into();
        }
        assert!(began.elapsed() < super::PATIENCE, "the gateway never says where its administration answers");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
