//! Where clients connect: accepting, the door each connection passes, and the tap its requests are read through.

pub mod accept;
pub mod called;
pub mod caps;
pub mod cohort;
pub mod connection;
pub mod deadline;
pub mod door;
pub mod entrance;
pub mod farewell;
pub mod gauges;
pub mod http2;
pub mod ledger;
mod lifetime;
pub mod limits;
pub mod patience;
pub mod plain;
pub mod reception;
mod redate;
pub mod refuse;
pub mod socket;
mod tap;
pub mod tls;
pub mod transport;
pub mod trimmer;
