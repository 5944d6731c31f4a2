//! What goes on behind requests for as long as a plan serves: services and keys are looked after, counts that nobody needs any
//! more are forgotten. Each of them follows the plan that serves.

pub mod counts;
pub mod keys;
pub mod services;
