//! What the data plane reports to its administrators, as plain data: made by the plane, sent by the administration API, read
//! by its clients.

mod explanation;
mod refused;
mod standing;

pub use explanation::{Answered, Considered, Explanation, Judged, Sent};
pub use refused::Refused;
pub use standing::LimitStanding;
