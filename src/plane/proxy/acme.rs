//! Answers to an ACME client's challenges.

use super::reply::Answer;
use crate::policy::acme::Challenge;
use gatekeeper_core::refusal::{Kind, Refusal};

/// Answers a challenge with what the ACME client wrote, which is read where reading may take its time.
pub async fn answer(challenge: Challenge) -> Result<Answer, Refusal> {
    let text = tokio::task::spawn_blocking(move || challenge.read()).await;
    text.unwrap_or_else(|_| Err(Kind::INTERNAL.into())).map(|text| Answer::text(text.into()))
}
