//! RAW configuration: the file, its parts in `conf.d`, the environment, and every error at once.
//!
//! `load` reads the files (`yaml`), fills in `${…}` (`interpolate`), joins the parts (`merge`), and turns the tree
//! (`node`) into the typed `raw` model (`decode`, `repair`). Whatever is wrong on the way goes into one collector (`fault`), each
//! with the file and the path it came from (`origin`). Bodies of requests take the same way from JSON (`json`).

pub mod fault;
pub mod files;
pub mod load;
pub mod object;
pub mod raw;
pub mod schema;
pub mod secret;
pub mod show;
pub mod size;
pub mod usual;
pub mod value;

mod decode;
mod interpolate;
mod json;
mod lines;
mod map;
mod mask;
mod merge;
mod node;
mod origin;
mod paths;
mod permissions;
mod place;
mod repair;
mod short;
mod texts;
mod tree;
mod words;
mod yaml;

pub use fault::{Fault, Faults, Lint};
pub use json::{read_json, understand};
pub use load::{Env, Loaded, load, load_with, parse, parse_with};
pub use origin::{Origin, Origins, Owners};
pub use place::{File, Place, Step};
pub use raw::Config;
pub use texts::Texts;
pub use words::{did_you_mean, printable, quoted};

/// The annotated default configuration: what `config init` writes.
pub const ANNOTATED_DEFAULT: &str = include_str!("../../conf/gatekeeper.yaml");
