//! What the gateway keeps, in its own words: objects and their revisions, tokens, the audit, registrations, nodes.
//!
//! Who uses the store sees the trait alone; no row of a table leaves this crate. Every change of objects is one transaction
//! that makes one revision, and is refused if another came first: whoever changes something has looked at the state that it
//! changes. Time is given, never read, so that a test decides on it.

use async_trait::async_trait;
use uuid::Uuid;

pub mod answer;
pub mod audit;
mod digest;
pub mod failure;
pub mod node;
pub mod object;
pub mod registration;
pub mod revision;
pub mod sql;
pub mod token;

use answer::Answer;
use audit::{Author, Entry, Recorded};
use failure::Failure;
use node::Node;
use object::Object;
use registration::Registration;
use revision::{Change, Changed, Revision};
use token::Token;

/// The result of asking the store.
pub type Result<T> = std::result::Result<T, Failure>;

/// All objects, and the revision that they are of.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The revision.
    pub revision: Revision,
    /// The objects, by kind and name.
    pub objects: Vec<Object>,
}

impl State {
    /// Whether the objects are those whose hash the revision has.
    pub fn is_whole(&self) -> bool {
        let mut sum = digest::Sum::default();
        self.objects.iter().for_each(|object| sum.add(object.kind, object.id, &object.name, &object.body));
        sum.text() == self.revision.hash
    }
}

/// What is heard of changes that others commit.
#[async_trait]
pub trait News: Send {
    /// Waits for the next one. It may come without a reason, and it may be late: who has to be sure looks by itself, too.
    async fn next(&mut self) -> Result<()>;
}

/// What the gateway keeps.
#[async_trait]
pub trait Store: Send + Sync {
    /// The newest revision.
    async fn head(&self) -> Result<Revision>;

    /// All objects as they are, and their revision.
    async fn state(&self) -> Result<State>;

    /// Makes a change, all of it or nothing, and the revision that it is. Refused if there is a newer revision than the one
    /// that the change is based on, or a name is taken.
    async fn commit(&self, change: Change, now: i64) -> Result<Revision>;

    /// A revision.
    async fn revision(&self, number: u64) -> Result<Option<Revision>>;

    /// Revisions before one, the newest first.
    async fn revisions(&self, before: u64, limit: u32) -> Result<Vec<Revision>>;

    /// What has changed after revision `from` up to revision `to`, by kind and name: each object once, as it was and as it came
    /// to be. It is the difference of two revisions, what a gateway has missed, and, read backwards, a way back.
    async fn between(&self, from: u64, to: u64) -> Result<Vec<Changed>>;

    /// Writes an entry of something that made no revision.
    async fn record(&self, author: Author, entry: Entry, now: i64) -> Result<()>;

    /// Entries before one, the newest first.
    async fn audit(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Recorded>>;

    /// Adds a token that is known by this digest. Refused if the name is taken.
    async fn add_token(&self, token: Token, digest: String) -> Result<()>;

    /// Puts a token in the place of the one with its name, which opens nothing any more.
    async fn replace_token(&self, token: Token, digest: String) -> Result<()>;

    /// All tokens, by their names.
    async fn tokens(&self) -> Result<Vec<Token>>;

    /// The token with this digest, whether it has ended or not.
    async fn token(&self, digest: &str) -> Result<Option<Token>>;

    /// A token was shown.
    async fn token_used(&self, id: Uuid, now: i64) -> Result<()>;

    /// Takes a token away. Returns whether there was one.
    async fn revoke_token(&self, id: Uuid) -> Result<bool>;

    /// Registers an instance, or renews what is known of it.
    async fn register(&self, registration: Registration) -> Result<()>;

    /// A heartbeat. Returns whether the instance is registered.
    async fn renew(&self, service: &str, target: &str, now: i64) -> Result<bool>;

    /// Takes an instance away. Returns whether there was one.
    async fn deregister(&self, service: &str, target: &str) -> Result<bool>;

    /// All instances that have not ended, by service and target.
    async fn registrations(&self, now: i64) -> Result<Vec<Registration>>;

    /// Removes the instances that have ended, and returns how many they were.
    async fn forget_ended(&self, now: i64) -> Result<u64>;

    /// A gateway reports.
    async fn report(&self, node: Node) -> Result<()>;

    /// The gateways that reported since, by their names.
    async fn nodes(&self, since: i64) -> Result<Vec<Node>>;

    /// The answer that a write of this token got with this key, if it is not forgotten.
    async fn answer(&self, token: &str, key: &str) -> Result<Option<Answer>>;

    /// Remembers an answer. Returns the one that is kept: the first counts.
    async fn remember(&self, token: &str, key: &str, answer: Answer) -> Result<Answer>;

    /// Hears of what others commit.
    async fn news(&self) -> Result<Box<dyn News>>;

    /// Makes the store ready that did not answer when it was opened: brings its tables to the schema of this version.
    async fn make_ready(&self) -> Result<()>;

    /// Whether several gateways may share it.
    fn is_shared(&self) -> bool;

    /// Forgets the answers that are older, and returns how many they were.
    async fn forget_answers(&self, before: i64) -> Result<u64>;
}
