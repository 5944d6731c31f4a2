//! Cores: what decides, without input or output. Time comes as an argument, so that each of them is tested against a slow,
//! obvious model of itself.

pub mod breaker;
pub mod event;
pub mod fragments;
pub mod frames;
pub mod health;
pub mod json;
pub mod limit;
pub mod net;
pub mod outlier;
pub mod problem;
pub mod proxy_protocol;
pub mod refusal;
pub mod reports;
pub mod request_id;
pub mod retry;
pub mod route;
pub mod signature;
pub mod sink;
pub mod wire;
