//! What the store promises, on SQLite and on PostgreSQL: one suite, run on both.

use std::collections::BTreeMap;
use std::sync::Arc;

use gatekeeper_store::answer::Answer;
use gatekeeper_store::audit::{Author, Entry};
use gatekeeper_store::failure::Failure;
use gatekeeper_store::node::Node;
use gatekeeper_store::object::Kind;
use gatekeeper_store::registration::Registration;
use gatekeeper_store::revision::{Change, Edit, Revision};
use gatekeeper_store::sql::Sql;
use gatekeeper_store::token::Token;
use gatekeeper_store::{State, Store};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::postgres::Postgres;

/// A database of a test's own.
struct Place {
    url: String,
    folder: TempDir,
    _server: Option<Arc<Postgres>>,
}

impl Place {
    fn sqlite() -> Place {
        Place { url: "sqlite:store.db".into(), folder: tempfile::tempdir().unwrap(), _server: None }
    }

    fn postgres() -> Place {
        let server = Postgres::shared();
        Place { url: server.database(), folder: tempfile::tempdir().unwrap(), _server: Some(server) }
    }

    async fn open(&self) -> Sql {
        Sql::open(&self.url, self.folder.path()).await.unwrap()
    }
}

/// Each test of the suite, on both.
macro_rules! suite {
    ($($test:ident)*) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() {
                super::$test(super::Place::sqlite()).await;
            })*
        }

        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() {
                super::$test(super::Place::postgres()).await;
            })*
        }
    };
}

suite! {
    a_new_store_has_no_objects
    a_change_makes_a_revision_and_is_kept
    a_change_is_made_whole_or_not_at_all
    a_change_of_an_older_state_is_refused
    two_objects_may_swap_their_names
    what_lies_between_two_revisions_leads_there_and_back
    the_hash_is_that_of_the_objects_however_they_came
    many_objects_are_one_revision
    no_update_is_lost
    the_tables_are_made_once
    a_newer_schema_is_left_alone
    what_was_done_is_in_the_audit
    tokens_are_known_by_their_digests
    instances_stay_as_long_as_they_renew
    nodes_report
    an_answer_is_remembered_once
    odd_texts_are_kept_as_they_are
}

fn author() -> Author {
    Author { name: "ana".into(), role: "admin".into(), address: "192.0.2.1".parse().ok() }
}

fn change(parent: u64, edits: Vec<Edit>) -> Change {
    Change { parent, author: author(), summary: "a test".into(), edits, file_hash: None, entries: Vec::new() }
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn put(number: u128, name: &str, body: Value) -> Edit {
    Edit::Put { id: id(number), kind: Kind::Route, name: name.into(), body }
}

fn remove(number: u128) -> Edit {
    Edit::Remove { id: id(number) }
}

/// The names and bodies of all objects.
fn bodies(state: &State) -> BTreeMap<&str, &Value> {
    state.objects.iter().map(|object| (object.name.as_str(), &object.body)).collect()
}

async fn a_new_store_has_no_objects(place: Place) {
    let store = place.open().await;
    let state = store.state().await.unwrap();
    assert_eq!((state.revision.number, state.objects.len()), (0, 0));
    assert_eq!(store.head().await.unwrap(), state.revision);
    assert_eq!(store.revisions(u64::MAX, 10).await.unwrap(), []);
    assert_eq!(store.revision(0).await.unwrap(), None);
}

async fn a_change_makes_a_revision_and_is_kept(place: Place) {
    let store = place.open().await;
    let mut wanted = change(0, vec![put(1, "orders", json!({"path_pattern": "/orders/*"}))]);
    wanted.file_hash = Some("f".into());
    let first = store.commit(wanted, 1000).await.unwrap();
    let (number, actor, at) = (first.number, first.actor.as_str(), first.created_at);
    assert_eq!((number, actor, at, first.file_hash.as_deref()), (1, "ana", 1000, Some("f")));
    let second = store.commit(change(1, vec![put(1, "orders", json!({"path_pattern": "/o/*"}))]), 2000).await.unwrap();
    drop(store);
    let store = place.open().await;
    let state = store.state().await.unwrap();
    assert_eq!(state.revision, second);
    let [object] = &state.objects[..] else { panic!("{state:?}") };
    assert_eq!((object.id, object.kind, object.name.as_str()), (id(1), Kind::Route, "orders"));
    assert_eq!(object.body, json!({"path_pattern": "/o/*"}));
    assert_eq!((object.revision, object.created_at, object.updated_at), (2, 1000, 2000));
    assert_eq!(store.revisions(u64::MAX, 10).await.unwrap(), [second.clone(), first.clone()]);
    assert_eq!(store.revisions(2, 10).await.unwrap(), std::slice::from_ref(&first));
    assert_eq!(store.revisions(u64::MAX, 1).await.unwrap(), [second]);
    assert_eq!(store.revision(1).await.unwrap(), Some(first));
    assert_eq!(store.revision(3).await.unwrap(), None);
}

async fn a_change_is_made_whole_or_not_at_all(place: Place) {
    let store = place.open().await;
    store.commit(change(0, vec![put(1, "a", json!(1)), put(2, "b", json!(2))]), 0).await.unwrap();
    let before = store.state().await.unwrap();
    let mut wanted = change(1, vec![put(1, "a", json!(9)), remove(2), put(3, "c", json!(3)), put(4, "c", json!(4))]);
    wanted.entries.push(entry("create", "c"));
    let refused = store.commit(wanted, 0).await;
    assert!(matches!(&refused, Err(Failure::Taken { name }) if name == "c"), "{refused:?}");
    assert_eq!(store.state().await.unwrap(), before);
    assert_eq!(store.between(0, u64::MAX).await.unwrap().len(), 2);
    assert_eq!(store.audit(None, 10).await.unwrap(), []);
    let refused = store.commit(change(1, vec![put(3, "a", json!(3))]), 0).await;
    assert!(matches!(&refused, Err(Failure::Taken { name }) if name == "a"), "{refused:?}");
}

async fn a_change_of_an_older_state_is_refused(place: Place) {
    let store = place.open().await;
    store.commit(change(0, vec![put(1, "a", json!(1))]), 0).await.unwrap();
    for parent in [0, 2, u64::MAX] {
        let refused = store.commit(change(parent, vec![put(1, "a", json!(2))]), 0).await;
        assert!(matches!(refused, Err(Failure::Stale { head: 1, .. })), "{refused:?}");
    }
    assert_eq!(bodies(&store.state().await.unwrap())["a"], &json!(1));
}

async fn two_objects_may_swap_their_names(place: Place) {
    let store = place.open().await;
    store.commit(change(0, vec![put(1, "a", json!(1)), put(2, "b", json!(2))]), 0).await.unwrap();
    store.commit(change(1, vec![put(1, "b", json!(1)), put(2, "a", json!(2))]), 5).await.unwrap();
    let state = store.state().await.unwrap();
    assert_eq!(bodies(&state), BTreeMap::from([("a", &json!(2)), ("b", &json!(1))]));
    assert!(state.objects.iter().all(|object| object.created_at == 0 && object.updated_at == 5));
}

async fn what_lies_between_two_revisions_leads_there_and_back(place: Place) {
    let store = place.open().await;
    let steps = [
        vec![put(1, "a", json!(1)), put(2, "b", json!(2))],
        vec![put(1, "a", json!(10)), remove(2), put(3, "c", json!(3))],
        vec![put(1, "a", json!(1)), put(2, "b", json!(20)), remove(3)],
        vec![put(2, "renamed", json!(20))],
    ];
    for (parent, edits) in steps.into_iter().enumerate() {
        store.commit(change(parent as u64, edits), 0).await.unwrap();
    }
    let names = |from, to| {
        let store = &store;
        async move {
            let changes = store.between(from, to).await.unwrap();
            changes
                .into_iter()
                .map(|change| (change.name_before, change.before, change.name, change.after))
                .collect::<Vec<_>>()
        }
    };
    let text = |text: &str| Some(text.to_owned());
    // The first object is as it was, the third one came and went.
    let renamed = (text("b"), Some(json!(2)), "renamed".to_owned(), Some(json!(20)));
    assert_eq!(names(1, 4).await, [renamed]);
    let came = ("renamed".to_owned(), Some(json!(20)));
    assert_eq!(
        names(2, 4).await,
        [
            (text("a"), Some(json!(10)), "a".into(), Some(json!(1))),
            (text("c"), Some(json!(3)), "c".into(), None),
            (None, None, came.0, came.1),
        ]
    );
    assert_eq!(names(4, 4).await, []);
    assert_eq!(names(4, 9).await, []);
    // Backwards they lead to the older state.
    let back = store.between(1, 4).await.unwrap().into_iter().map(|change| match (change.name_before, change.before) {
        (Some(name), Some(body)) => Edit::Put { id: change.id, kind: change.kind, name, body },
        _ => Edit::Remove { id: change.id },
    });
    let back = store.commit(change(4, back.collect()), 0).await.unwrap();
    assert_eq!(Some(back.hash), store.revision(1).await.unwrap().map(|first| first.hash));
    assert_eq!(bodies(&store.state().await.unwrap()), BTreeMap::from([("a", &json!(1)), ("b", &json!(2))]));
}

async fn the_hash_is_that_of_the_objects_however_they_came(place: Place) {
    let (store, other) = (place.open().await, Place::sqlite());
    let other = other.open().await;
    store.commit(change(0, vec![put(1, "a", json!({"x": 1, "y": 2})), put(2, "b", json!(2))]), 0).await.unwrap();
    let here = store.commit(change(1, vec![put(1, "a", json!({"x": 3}))]), 0).await.unwrap();
    other.commit(change(0, vec![put(2, "b", json!(2))]), 7).await.unwrap();
    let there = other.commit(change(1, vec![put(1, "a", json!({"x": 3}))]), 7).await.unwrap();
    assert_eq!(here.hash, there.hash);
    let there = other.commit(change(2, vec![remove(1)]), 7).await.unwrap();
    assert_ne!(here.hash, there.hash);
    let empty = other.commit(change(3, vec![remove(2), remove(77)]), 7).await.unwrap();
    assert_eq!(empty.hash, "0".repeat(64));
}

async fn many_objects_are_one_revision(place: Place) {
    let store = place.open().await;
    let all = |body: u32| (0..2500).map(|number| put(number, &format!("r{number}"), json!({ "n": body }))).collect();
    store.commit(change(0, all(1)), 0).await.unwrap();
    store.commit(change(1, all(2)), 0).await.unwrap();
    let state = store.state().await.unwrap();
    assert_eq!((state.revision.number, state.objects.len()), (2, 2500));
    assert!(state.objects.iter().all(|object| object.body == json!({"n": 2})));
    let gone = (0..2500).map(remove).collect();
    store.commit(change(2, gone), 0).await.unwrap();
    assert_eq!(store.state().await.unwrap().objects.len(), 0);
}

/// Writers that look at the newest state and try again when another one was faster.
async fn no_update_is_lost(place: Place) {
    let store = Arc::new(place.open().await);
    let other = Arc::new(place.open().await);
    store.commit(change(0, vec![put(1, "counter", json!(0))]), 0).await.unwrap();
    let writers = (0..8).map(|writer| {
        let store = if writer % 2 == 0 { store.clone() } else { other.clone() };
        tokio::spawn(async move {
            for _ in 0..10 {
                while !count_once(&*store).await {}
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let state = store.state().await.unwrap();
    assert_eq!((bodies(&state)["counter"], state.revision.number), (&json!(80), 81));
}

async fn count_once(store: &dyn Store) -> bool {
    let state = store.state().await.unwrap();
    let count = bodies(&state)["counter"].as_u64().unwrap();
    match store.commit(change(state.revision.number, vec![put(1, "counter", json!(count + 1))]), 0).await {
        Ok(_) => true,
        Err(Failure::Stale { .. }) => false,
        Err(other) => panic!("{other}"),
    }
}

async fn the_tables_are_made_once(place: Place) {
    let openings = (0..4).map(|_| {
        let (url, folder) = (place.url.clone(), place.folder.path().to_owned());
        tokio::spawn(async move { Sql::open(&url, &folder).await.map(drop) })
    });
    for opening in openings.collect::<Vec<_>>() {
        opening.await.unwrap().unwrap();
    }
    let store = Sql::connect(&place.url, place.folder.path()).await.unwrap();
    let schema = store.schema().await.unwrap();
    assert_eq!((schema.found, schema.known), (1, 1));
}

async fn a_newer_schema_is_left_alone(place: Place) {
    drop(place.open().await);
    let url = place.url.replace("sqlite:", &format!("sqlite:{}/", place.folder.path().display()));
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(&url).await.unwrap();
    sqlx::query("UPDATE schema_version SET number = 99").execute(&pool).await.unwrap();
    pool.close().await;
    let refused = Sql::open(&place.url, place.folder.path()).await.err().unwrap();
    assert!(matches!(refused, Failure::TooNew { found: 99, known: 1 }), "{refused}");
}

fn entry(action: &str, name: &str) -> Entry {
    Entry { action: action.into(), kind: "route".into(), name: name.into(), before: None, after: Some(json!({"x": 1})) }
}

async fn what_was_done_is_in_the_audit(place: Place) {
    let store = place.open().await;
    let mut wanted = change(0, vec![put(1, "a", json!(1))]);
    wanted.entries = vec![entry("create", "a"), entry("create", "b")];
    store.commit(wanted, 10).await.unwrap();
    let nobody = Author { address: None, ..author() };
    store.record(nobody.clone(), entry("reset", "c"), 20).await.unwrap();
    let all = store.audit(None, 10).await.unwrap();
    let seen: Vec<_> = all.iter().map(|one| (one.entry.name.as_str(), one.at, one.revision)).collect();
    assert_eq!(seen, [("c", 20, None), ("b", 10, Some(1)), ("a", 10, Some(1))]);
    assert_eq!((&all[0].author, &all[1].author, &all[2].entry), (&nobody, &author(), &entry("create", "a")));
    assert_eq!(store.audit(Some(all[0].id), 1).await.unwrap(), all[1..2]);
    assert_eq!(store.audit(Some(all[2].id), 10).await.unwrap(), []);
}

async fn tokens_are_known_by_their_digests(place: Place) {
    let store = place.open().await;
    let (name, role) = ("ci".to_owned(), "viewer".to_owned());
    let token = Token { id: id(1), name, role, created_at: 1, expires_at: Some(50), last_used_at: None };
    store.add_token(token.clone(), "d1".into()).await.unwrap();
    let taken = store.add_token(Token { id: id(2), ..token.clone() }, "d2".into()).await;
    assert!(matches!(&taken, Err(Failure::Taken { name }) if name == "ci"), "{taken:?}");
    let lasting = Token { id: id(2), name: "ana".into(), expires_at: None, ..token.clone() };
    store.add_token(lasting.clone(), "d2".into()).await.unwrap();
    assert_eq!(store.token("d1").await.unwrap(), Some(token.clone()));
    assert_eq!(store.token("d3").await.unwrap(), None);
    store.token_used(id(1), 40).await.unwrap();
    let used = Token { last_used_at: Some(40), ..token };
    assert_eq!(store.tokens().await.unwrap(), [lasting, used]);
    assert!(store.revoke_token(id(1)).await.unwrap());
    assert!(!store.revoke_token(id(1)).await.unwrap());
    assert_eq!(store.token("d1").await.unwrap(), None);
}

async fn instances_stay_as_long_as_they_renew(place: Place) {
    let store = place.open().await;
    let metadata = json!({"zone": "a"}).as_object().cloned().unwrap();
    let (service, target) = ("shop".to_owned(), "http://10.0.0.1:80".to_owned());
    let mortal =
        Registration { service, target, weight: 2, metadata, ttl_ms: Some(100), created_at: 1000, seen_at: 1000 };
    let lasting = Registration { target: "http://10.0.0.2:80".into(), ttl_ms: None, ..mortal.clone() };
    store.register(mortal.clone()).await.unwrap();
    store.register(lasting.clone()).await.unwrap();
    assert_eq!(store.registrations(1100).await.unwrap(), [mortal.clone(), lasting.clone()]);
    assert_eq!(store.registrations(1101).await.unwrap(), std::slice::from_ref(&lasting));
    assert!(mortal.has_ended(1101) && !mortal.has_ended(1100) && !lasting.has_ended(i64::MAX));
    assert!(store.renew("shop", &mortal.target, 1050).await.unwrap());
    assert!(!store.renew("shop", "http://10.0.0.9:80", 1050).await.unwrap());
    assert_eq!(store.registrations(1150).await.unwrap()[0].seen_at, 1050);
    // Whoever comes too late registers again.
    assert!(!store.renew("shop", &mortal.target, 1151).await.unwrap());
    store.register(Registration { weight: 3, seen_at: 2000, created_at: 2000, ..mortal.clone() }).await.unwrap();
    let again = store.registrations(2000).await.unwrap();
    assert_eq!((again.len(), again[0].weight, again[0].created_at), (2, 3, 1000));
    assert_eq!(store.forget_ended(2100).await.unwrap(), 0);
    assert_eq!(store.forget_ended(2101).await.unwrap(), 1);
    assert!(store.deregister("shop", &lasting.target).await.unwrap());
    assert!(!store.deregister("shop", &lasting.target).await.unwrap());
    assert_eq!(store.registrations(0).await.unwrap(), []);
}

async fn nodes_report(place: Place) {
    let store = place.open().await;
    let (name, address, version, hash) =
        ("b".to_owned(), "10.0.0.1:8001".to_owned(), "0.1.0".to_owned(), "h".to_owned());
    let node = Node {
        id: id(1),
        name,
        address,
        version,
        revision: 7,
        hash,
        fault: Some("no such service".into()),
        seen_at: 10,
    };
    let other = Node { id: id(2), name: "a".into(), fault: None, seen_at: 20, ..node.clone() };
    store.report(node.clone()).await.unwrap();
    store.report(other.clone()).await.unwrap();
    assert_eq!(store.nodes(0).await.unwrap(), [other.clone(), node.clone()]);
    assert_eq!(store.nodes(11).await.unwrap(), std::slice::from_ref(&other));
    let well = Node { fault: None, revision: 8, seen_at: 30, ..node };
    store.report(well.clone()).await.unwrap();
    assert_eq!(store.nodes(0).await.unwrap(), [other, well]);
}

async fn an_answer_is_remembered_once(place: Place) {
    let store = place.open().await;
    let answer = |body: &str| Answer { digest: "d".into(), status: 201, body: body.into(), at: 100 };
    assert_eq!(store.answer("t", "k").await.unwrap(), None);
    assert_eq!(store.remember("t", "k", answer("one")).await.unwrap(), answer("one"));
    assert_eq!(store.remember("t", "k", answer("two")).await.unwrap(), answer("one"));
    assert_eq!(store.remember("u", "k", answer("two")).await.unwrap(), answer("two"));
    assert_eq!(store.answer("t", "k").await.unwrap(), Some(answer("one")));
    assert_eq!(store.forget_answers(100).await.unwrap(), 0);
    assert_eq!(store.forget_answers(101).await.unwrap(), 2);
    assert_eq!(store.answer("t", "k").await.unwrap(), None);
}

async fn odd_texts_are_kept_as_they_are(place: Place) {
    let store = place.open().await;
    let odd = ["' OR 1=1 --", "\u{202e}rtl", "💥", "$1", "a\nb", ""];
    let body = json!({"deep": {"list": [1, null, 2.5, -7, u64::MAX, "\u{1f600}\u{7f}"]}, "order": 1, "first": 2});
    let edits = odd.iter().enumerate().map(|(number, name)| put(number as u128, name, body.clone()));
    let revision: Revision = store.commit(change(0, edits.collect()), 0).await.unwrap();
    let state = store.state().await.unwrap();
    assert_eq!(state.revision, revision);
    assert!(odd.iter().all(|name| bodies(&state)[name] == &body), "{state:?}");
    let keys: Vec<_> = state.objects[0].body.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["deep", "order", "first"]);
}
