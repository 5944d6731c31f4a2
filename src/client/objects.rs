//! The part of the client that changes the configuration: objects, declarative files, revisions, tokens.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, IF_MATCH};
use serde_json::Value;

use crate::api::change::Applied;
use crate::api::collection::{Applying, Collection};
use crate::api::node::Node;
use crate::api::object::{Changed, Object};
use crate::api::parameters::Page;
use crate::api::revision::{ObjectChange, Revision};
use crate::api::token::{AuditEntry, NewToken, Token, TokenMade};
use crate::client::Client;
use crate::failure::Failure;

/// Ten years.
const LONGEST_WATCH: Duration = Duration::from_secs(10 * 365 * 86400);

impl Client {
    /// All objects of a collection whose name, path, hosts or services contain a text, page by page.
    pub async fn objects(&self, collection: Collection, containing: &str) -> Result<Vec<Object>, Failure> {
        let mut all = Vec::new();
        loop {
            let request = self.connection.request(Method::GET, collection.path())?;
            let page = Page { limit: Page::LONGEST, offset: all.len() };
            let request = request.query(&page).query(&[("q", containing)]);
            let (_, page): (usize, Vec<Object>) = self.connection.ask_page(request).await?;
            let is_last = page.len() < Page::LONGEST;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// The object with this id or name.
    pub async fn object(&self, collection: Collection, key: &str) -> Result<Object, Failure> {
        let request = self.connection.request(Method::GET, &[collection.path(), &[key]].concat())?;
        self.connection.ask(request).await
    }

    /// Makes a route or a rate limit.
    pub async fn create(&self, collection: Collection, body: &Value) -> Result<Changed<Object>, Failure> {
        let request = self.connection.request(Method::POST, collection.written())?;
        self.connection.ask(request.json(body)).await
    }

    /// Makes the object with this id or name what is written. With the etag of the version that it replaces, the gateway refuses
    /// if there is another one.
    pub async fn replace(
        &self,
        collection: Collection,
        key: &str,
        body: &Value,
        etag: Option<&str>,
    ) -> Result<Changed<Object>, Failure> {
        self.write(Method::PUT, collection, key, body, etag).await
    }

    /// Changes some fields of an object; null removes a field.
    pub async fn patch(
        &self,
        collection: Collection,
        key: &str,
        fields: &Value,
        etag: Option<&str>,
    ) -> Result<Changed<Object>, Failure> {
        self.write(Method::PATCH, collection, key, fields, etag).await
    }

    async fn write(
        &self,
        method: Method,
        collection: Collection,
        key: &str,
        body: &Value,
        etag: Option<&str>,
    ) -> Result<Changed<Object>, Failure> {
        let mut request = self.connection.request(method, &[collection.written(), &[key]].concat())?;
        if let Some(etag) = etag {
            request = request.header(IF_MATCH, etag);
        }
        self.connection.ask(request.json(body)).await
    }

    /// Removes an object.
    pub async fn delete(&self, collection: Collection, key: &str) -> Result<(), Failure> {
        let request = self.connection.request(Method::DELETE, &[collection.written(), &[key]].concat())?;
        self.connection.order(request).await
    }

    /// Applies a declarative file in YAML or JSON as a whole, or tells what it would change.
    pub async fn apply(&self, file: &str, applying: Applying) -> Result<Applied, Failure> {
        let request = self.connection.request(Method::POST, &["config", "apply"])?;
        let request = request.query(&applying).header(CONTENT_TYPE, "application/yaml");
        self.connection.ask(request.body(file.to_owned())).await
    }

    /// Everything that the API made, as a file that can be applied.
    pub async fn export(&self) -> Result<String, Failure> {
        let request = self.connection.request(Method::GET, &["config", "export"])?;
        self.connection.ask_text(request).await
    }

    /// The newest revisions, the newest first.
    pub async fn revisions(&self, limit: u32) -> Result<Vec<Revision>, Failure> {
        let request = self.connection.request(Method::GET, &["config", "revisions"])?;
        self.connection.ask(request.query(&[("limit", limit)])).await
    }

    /// A revision and what it changed.
    pub async fn revision(&self, number: u64) -> Result<Revision, Failure> {
        let request = self.connection.request(Method::GET, &["config", "revisions", &number.to_string()])?;
        self.connection.ask(request).await
    }

    /// What is different in another revision.
    pub async fn difference(&self, from: u64, to: u64) -> Result<Vec<ObjectChange>, Failure> {
        let path = ["config", "revisions", &from.to_string(), "diff", &to.to_string()];
        self.connection.ask(self.connection.request(Method::GET, &path)?).await
    }

    /// Makes everything that the API made what it was in a revision, or tells what that would change.
    pub async fn roll_back(&self, number: u64, dry_run: bool) -> Result<Applied, Failure> {
        let path = ["config", "revisions", &number.to_string(), "rollback"];
        let request = self.connection.request(Method::POST, &path)?.query(&[("dry_run", dry_run)]);
        self.connection.ask(request).await
    }

    /// Revisions as they begin to serve, after this one or from now on, until the gateway ends the stream or the listener says
    /// that it has enough.
    pub async fn watch(&self, since: Option<u64>, mut heard: impl FnMut(Revision) -> bool) -> Result<(), Failure> {
        let request = self.connection.request(Method::GET, &["config", "watch"])?;
        let since = since.map(|since| ("since", since));
        // The stream has no end that could be waited for.
        let request = request.query(since.as_slice()).timeout(LONGEST_WATCH);
        let mut text = String::new();
        self.connection
            .listen(request, |piece| {
                text.push_str(&String::from_utf8_lossy(piece));
                while let Some(end) = text.find("\n\n") {
                    let event: String = text.drain(..end + 2).collect();
                    let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                    let revision = data.map(serde_json::from_str).transpose().map_err(Failure::Unexpected)?;
                    if revision.is_some_and(|revision| !heard(revision)) {
                        return Ok(false);
                    }
                }
                Ok(true)
            })
            .await
    }

    /// The tokens of the API.
    pub async fn tokens(&self) -> Result<Vec<Token>, Failure> {
        self.connection.ask(self.connection.request(Method::GET, &["tokens"])?).await
    }

    /// Makes a token. Its secret is in this answer and nowhere else.
    pub async fn create_token(&self, token: &NewToken) -> Result<TokenMade, Failure> {
        let request = self.connection.request(Method::POST, &["tokens"])?;
        self.connection.ask(request.json(token)).await
    }

    /// Gives a token a new secret; the one before does not open anything any more.
    pub async fn rotate_token(&self, key: &str) -> Result<TokenMade, Failure> {
        self.connection.ask(self.connection.request(Method::POST, &["tokens", key, "rotate"])?).await
    }

    /// Takes the token with this id or name away.
    pub async fn revoke_token(&self, key: &str) -> Result<(), Failure> {
        self.connection.order(self.connection.request(Method::DELETE, &["tokens", key])?).await
    }

    /// The gateways that share the store.
    pub async fn nodes(&self) -> Result<Vec<Node>, Failure> {
        self.connection.ask(self.connection.request(Method::GET, &["nodes"])?).await
    }

    /// The newest entries of the audit, the newest first.
    pub async fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, Failure> {
        let request = self.connection.request(Method::GET, &["audit"])?;
        self.connection.ask(request.query(&[("limit", limit)])).await
    }
}
