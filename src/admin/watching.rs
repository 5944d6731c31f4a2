//! A stream of revisions: server-sent events, each with what a revision changed, as soon as it serves at this gateway.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream::{self, Stream, StreamExt};
use serde::Deserialize;
use tokio::time::timeout;

use crate::Control;
use crate::input::Parameters;
use crate::problem::Problem;
use crate::revisions::{shown, told};

/// Streams at a time: they may not take the connections of those who administer.
pub const MOST: usize = 16;

/// Where a stream begins.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Beginning {
    since: Option<u64>,
}

/// A connection that waits is not closed for its silence.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// How often it is looked whether the gateway stops.
const LOOK: Duration = Duration::from_secs(1);

/// The revisions after one, or from now on.
pub async fn watch(
    State(control): State<Arc<Control>>,
    Parameters(beginning): Parameters<Beginning>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    control.kept()?;
    let place = control.watchers.clone().try_acquire_owned().map_err(|_| Problem::too_many_watchers())?;
    let now = control.desk.held().revision.number;
    let since = beginning.since.unwrap_or(now);
    if since > now {
        return Err(Problem::unknown_revision(since));
    }
    let news = control.desk.revisions();
    let revisions = stream::unfold((control, news, since, place), |(control, mut news, last, place)| async move {
        loop {
            if control.desk.held().revision.number > last {
                match event(&control, last + 1).await {
                    Ok(event) => return Some((Ok(event), (control, news, last + 1, place))),
                    Err(_) => tokio::time::sleep(SIGN_OF_LIFE).await,
                }
                continue;
            }
            // A gateway that stops does not wait for those who wait for news.
            if !control.plane.is_ready() {
                return None;
            }
            if let Ok(changed) = timeout(LOOK, news.changed()).await {
                changed.ok()?;
            }
        }
    });
    Ok(Sse::new(revisions.boxed()).keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE)))
}

async fn event(control: &Control, number: u64) -> Result<Event, Problem> {
    let store = &control.kept()?.store;
    let revision = store.revision(number).await.map_err(Problem::of_store)?;
    let revision = revision.ok_or_else(|| Problem::unknown_revision(number))?;
    let changes = store.between(number - 1, number).await.map_err(Problem::of_store)?;
    let data = serde_json::to_string(&shown(&revision, Some(told(&changes)))).map_err(Problem::internal)?;
    Ok(Event::default().event("revision").id(number.to_string()).data(data))
}
