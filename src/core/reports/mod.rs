//! The reports of the data plane to its administrators, as plain data: the plane makes them, the administration API sends them,
//! and its clients read them.

mod explanation;
mod refused;
mod standing;

pub use explanation::{Answered, Considered, Explanation, Judged, Sent};
pub use refused::Refused;
pub use standing::LimitStanding;
