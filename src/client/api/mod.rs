//! What the API's requests and answers hold. The server writes and reads the same types.

pub mod change;
pub mod explain;
pub mod health;
pub mod limits;
pub mod parameters;
pub mod problem;
pub mod registration;
pub mod status;
