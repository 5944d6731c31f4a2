//! Lists: what is found, in which order, and a page of it.
//!
//! A cursor names the last entry of a page by what the list is sorted by, and its name: while others write, no entry is shown twice
//! or left out that was there all the time.

use std::cmp::Ordering;
use std::ops::RangeInclusive;

use axum::Json;
use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::header::LINK;
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use gatekeeper_client::{Page, TOTAL_COUNT};
use gatekeeper_model::{Faults, Place, quoted};
use serde_json::Value;

use crate::problem::Problem;

const TOTAL: HeaderName = HeaderName::from_static(TOTAL_COUNT);

/// What is asked of a list.
#[derive(Clone, Debug)]
pub struct Listing {
    /// A text that entries contain, in lower case.
    pub q: Option<String>,
    /// The field that they are sorted by, and whether backwards.
    sort: Option<(String, bool)>,
    limit: usize,
    offset: usize,
    after: Option<(Value, String)>,
    /// Only these fields are shown.
    fields: Option<Vec<String>>,
    /// Fields and the values that they must have.
    filters: Vec<(String, String)>,
    path: String,
    query: Vec<(String, String)>,
}

/// An entry of a list, shown when it is needed.
pub trait Listed {
    /// Its name.
    fn name(&self) -> &str;

    /// It, as the API shows it.
    fn shown(&self) -> Value;
}

impl<S: Send + Sync> FromRequestParts<S> for Listing {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query)
            .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "bad_request", format!("the query: {error}")))?;
        // The path as it was asked for, not what is left of it below the router.
        let path = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0).path();
        Listing::of(path, pairs)
    }
}

impl Listing {
    fn of(path: &str, query: Vec<(String, String)>) -> Result<Self, Problem> {
        let mut listing = Listing {
            q: None,
            sort: None,
            limit: Page::default().limit,
            offset: 0,
            after: None,
            fields: None,
            filters: Vec::new(),
            path: path.to_owned(),
            query: query.clone(),
        };
        let mut faults = Faults::default();
        for (key, value) in query {
            match key.as_str() {
                "limit" => listing.limit = number("limit", &value, 1..=Page::LONGEST, &mut faults),
                "offset" => listing.offset = number("offset", &value, 0..=1_000_000_000, &mut faults),
                "cursor" => match cursor(&value) {
                    Some(after) => listing.after = Some(after),
                    None => faults.push(Place::new("cursor"), quoted(&value), "a cursor of an earlier answer"),
                },
                "q" => listing.q = Some(value.to_lowercase()).filter(|q| !q.is_empty()),
                "sort" => {
                    let (field, backwards) = value.strip_prefix('-').map_or((&*value, false), |field| (field, true));
                    listing.sort = Some((field.to_owned(), backwards));
                }
                "fields" => listing.fields = Some(value.split(',').map(|field| field.trim().to_owned()).collect()),
                // A switch without a value is on.
                "active_only" if value != "false" => listing.filters.push(("is_active".into(), "true".into())),
                "active_only" => {}
                _ => listing.filters.push((key, value)),
            }
        }
        if faults.is_empty() { Ok(listing) } else { Err(Problem::invalid(&faults)) }
    }

    /// What is asked of fields that entries do not have is a mistake.
    pub fn check_fields(&self, known: impl FnOnce() -> Vec<String>) -> Result<(), Problem> {
        let sorted = self.sort.iter().map(|(field, _)| field);
        let asked: Vec<&String> =
            self.filters.iter().map(|(field, _)| field).chain(sorted).chain(self.fields.iter().flatten()).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let known = known();
        match asked.into_iter().find(|field| !known.contains(field)) {
            Some(field) => Err(Problem::unknown_parameter(field, &known)),
            None => Ok(()),
        }
    }

    /// A page of entries that are in the order of their names.
    pub fn page<T: Listed>(&self, entries: Vec<T>) -> Result<Response, Problem> {
        let mut entries: Vec<(Value, T)> = self.filtered(entries)?;
        if let Some((_, backwards)) = &self.sort {
            entries.sort_by(|(one, a), (other, b)| {
                let order = compare(one, other).then_with(|| a.name().cmp(b.name()));
                if *backwards { order.reverse() } else { order }
            });
        }
        let total = entries.len();
        let is_after = |(key, entry): &(Value, T)| {
            self.after.as_ref().is_none_or(|(last, name)| {
                let order = compare(key, last).then_with(|| entry.name().cmp(name));
                order == if self.is_backwards() { Ordering::Less } else { Ordering::Greater }
            })
        };
        let rest: Vec<&(Value, T)> = entries.iter().filter(|entry| is_after(entry)).skip(self.offset).collect();
        let page: Vec<Value> = rest.iter().take(self.limit).map(|(_, entry)| self.narrowed(entry.shown())).collect();
        let last = rest.get(self.limit.saturating_sub(1)).filter(|_| rest.len() > self.limit);
        let next = last.map(|(key, entry)| self.next(key, entry.name()));
        let mut response = ([(TOTAL, total.to_string())], Json(page)).into_response();
        if let Some(link) = next.and_then(|next| next.parse().ok()) {
            response.headers_mut().insert(LINK, link);
        }
        Ok(response)
    }

    fn is_backwards(&self) -> bool {
        self.sort.as_ref().is_some_and(|(_, backwards)| *backwards)
    }

    /// The entries that pass the filters, each with what it is sorted by.
    fn filtered<T: Listed>(&self, entries: Vec<T>) -> Result<Vec<(Value, T)>, Problem> {
        if self.filters.is_empty() && self.sort.is_none() {
            return Ok(entries.into_iter().map(|entry| (Value::Null, entry)).collect());
        }
        let mut found = Vec::new();
        for entry in entries {
            let shown = entry.shown();
            let mut passes = true;
            for (field, wanted) in &self.filters {
                passes &= shown.get(field).is_some_and(|value| is_written(value, wanted));
            }
            if passes {
                let key = self.sort.as_ref().and_then(|(field, _)| shown.get(field)).cloned();
                found.push((key.unwrap_or_default(), entry));
            }
        }
        Ok(found)
    }

    fn narrowed(&self, mut shown: Value) -> Value {
        if let (Some(fields), Value::Object(map)) = (&self.fields, &mut shown) {
            map.retain(|key, _| fields.iter().any(|field| field == key));
        }
        shown
    }

    /// The link to the next page.
    fn next(&self, key: &Value, name: &str) -> String {
        let cursor = BASE64_URL_SAFE_NO_PAD.encode(serde_json::json!([key, name]).to_string());
        let kept = self.query.iter().filter(|(key, _)| key != "cursor" && key != "offset");
        let query: Vec<(&str, &str)> = kept.map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let query = query.into_iter().chain([("cursor", cursor.as_str())]).collect::<Vec<_>>();
        format!("<{}?{}>; rel=\"next\"", self.path, serde_urlencoded::to_string(query).unwrap_or_default())
    }
}

fn number(key: &str, value: &str, range: RangeInclusive<usize>, faults: &mut Faults) -> usize {
    let number = value.parse().ok().filter(|number| range.contains(number));
    number.unwrap_or_else(|| {
        faults.push(Place::new(key), quoted(value), format!("{} to {}", range.start(), range.end()));
        *range.start()
    })
}

fn cursor(text: &str) -> Option<(Value, String)> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Whether a value is what a person writes in a query.
fn is_written(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text == wanted,
        Value::Array(list) => list.iter().any(|value| is_written(value, wanted)),
        Value::Null => wanted.is_empty() || wanted == "null",
        Value::Bool(value) => value.to_string() == wanted,
        Value::Number(number) => number.to_string() == wanted,
        Value::Object(_) => false,
    }
}

/// Numbers by their value, texts by their characters, all else by how it is written; what is not there comes first.
fn compare(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one.as_f64().unwrap_or(0.0).total_cmp(&other.as_f64().unwrap_or(0.0))
        }
        (Value::String(one), Value::String(other)) => one.cmp(other),
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        (one, other) => one.to_string().cmp(&other.to_string()),
    }
}
