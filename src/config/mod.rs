//! RAW configuration: the file, its parts in `conf.d`, the environment, and every error at once.

pub mod model;
pub mod value;
