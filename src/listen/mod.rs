//! Where clients connect: accepting, the door each connection passes, and the tap its requests are read through.

pub mod accept;
pub mod caps;
pub mod certificate;
pub mod cohort;
pub mod connection;
pub mod door;
pub mod entrance;
pub(crate) mod farewell;
mod fragments;
pub mod frames;
pub mod http2;
pub mod inherited;
pub mod ledger;
mod lifetime;
pub mod limits;
pub(crate) mod patience;
pub mod proxy_protocol;
mod redate;
pub mod refuse;
pub mod socket;
mod tap;
pub(crate) mod transport;
pub mod trimmer;
pub mod wire;
