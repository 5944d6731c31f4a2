//! `diff`, `apply`, `export`, `rollback`, `revisions`, `watch`, `nodes`: what the API of the running gateway made, as a whole.

use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};

use gatekeeper_client::{Applied, Applying, ObjectChange};

use super::services::laid_out;
use super::{Failure, Options, Outcome, counted, reach, write_out};

/// The largest file that the API reads.
const LARGEST_FILE: u64 = 32 << 20;

#[derive(clap::Args)]
pub struct Diff {
    /// A file with services, routes, rate limits and CORS settings; - for standard input
    #[arg(value_name = "FILE")]
    applied: PathBuf,
    /// Count objects that the file does not name as removed
    #[arg(long)]
    prune: bool,
    /// Count objects that were made one by one as the file's, too
    #[arg(long)]
    take_over: bool,
}

#[derive(clap::Args)]
pub struct Apply {
    /// A file with services, routes, rate limits and CORS settings; - for standard input
    #[arg(value_name = "FILE")]
    applied: PathBuf,
    /// Remove objects that a file applied before, and that this one does not name
    #[arg(long)]
    prune: bool,
    /// Change objects that were made one by one through the API, too; with --prune, also remove them
    #[arg(long)]
    take_over: bool,
    /// Change nothing; print what would change
    #[arg(long)]
    dry_run: bool,
}

#[derive(clap::Args)]
pub struct Rollback {
    /// The revision to go back to
    number: u64,
    /// Change nothing; print what would change
    #[arg(long)]
    dry_run: bool,
}

#[derive(clap::Args)]
pub struct Revisions {
    /// Show what this revision changed
    number: Option<u64>,
    /// How many to list
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

/// Shows what applying a file would change; exits with 2 if there is something.
pub fn diff(options: &Options, args: &Diff) -> Outcome {
    let file = read(&args.applied)?;
    let applying = Applying { dry_run: true, prune: args.prune, take_over: args.take_over };
    let applied = reach::call(options, async |gateway| gateway.apply(&file, applying).await)?;
    options.print(&applied, told(&applied.changes)?)?;
    if applied.changes.is_empty() { Ok(()) } else { Err(Failure::Different) }
}

/// Applies a file.
pub fn apply(options: &Options, args: &Apply) -> Outcome {
    let file = read(&args.applied)?;
    let applying = Applying { dry_run: args.dry_run, prune: args.prune, take_over: args.take_over };
    let applied = reach::call(options, async |gateway| gateway.apply(&file, applying).await)?;
    report(options, &applied, args.dry_run)
}

/// Goes back to a revision.
pub fn roll_back(options: &Options, args: &Rollback) -> Outcome {
    let applied = reach::call(options, async |gateway| gateway.roll_back(args.number, args.dry_run).await)?;
    report(options, &applied, args.dry_run)
}

/// Prints what the API made as a file.
pub fn export(options: &Options) -> Outcome {
    let exported = reach::call(options, async |gateway| gateway.export().await)?;
    write_out(&exported)
}

/// Lists revisions, or shows one.
pub fn revisions(options: &Options, args: &Revisions) -> Outcome {
    if let Some(number) = args.number {
        let revision = reach::call(options, async |gateway| gateway.revision(number).await)?;
        let changes = revision.changes.as_deref().unwrap_or_default();
        let head = format!("revision {number} by {} at {}\n", revision.actor, revision.created_at);
        return options.print(&revision, head + &told(changes)?);
    }
    let revisions = reach::call(options, async |gateway| gateway.revisions(args.limit).await)?;
    let rows: Vec<_> = revisions
        .iter()
        .map(|revision| {
            let at = revision.created_at.split('.').next().unwrap_or_default().replace('T', " ");
            [revision.number.to_string(), at, revision.actor.clone(), revision.summary.clone()]
        })
        .collect();
    options.print(&revisions, laid_out(["REVISION", "AT (UTC)", "BY", "CHANGE"], &rows)?)
}

#[derive(clap::Args)]
pub struct Watch {
    /// Begin after this revision [default: with the next one]
    #[arg(long, value_name = "REVISION")]
    since: Option<u64>,
}

/// Prints revisions as they begin to serve.
pub fn watch(options: &Options, args: &Watch) -> Outcome {
    reach::call(options, async |gateway| {
        let print = |revision: gatekeeper_client::Revision| {
            let changes = told(revision.changes.as_deref().unwrap_or_default()).unwrap_or_default();
            let head = format!("revision {} by {} at {}\n", revision.number, revision.actor, revision.created_at);
            let shown = match options.json {
                // A line each, for programs.
                true => serde_json::to_string(&revision).map(|line| line + "\n").unwrap_or_default(),
                false => gatekeeper_model::printable(&(head + &changes)),
            };
            write_out(&shown).is_ok()
        };
        gateway.watch(args.since, print).await
    })
}

/// Lists the gateways that share the store.
pub fn nodes(options: &Options) -> Outcome {
    let nodes = reach::call(options, async |gateway| gateway.nodes().await)?;
    let rows: Vec<_> = nodes
        .iter()
        .map(|node| {
            let fault = node.fault.clone().unwrap_or_default();
            let (revision, hash) = (node.revision.to_string(), node.hash.clone());
            [node.name.clone(), node.address.clone(), node.status.clone(), revision, hash, fault]
        })
        .collect();
    options.print(&nodes, laid_out(["NAME", "ADMINISTRATION", "STATUS", "REVISION", "HASH", "FAULT"], &rows)?)
}

fn report(options: &Options, applied: &Applied, dry_run: bool) -> Outcome {
    let mut text = told(&applied.changes)?;
    for warning in &applied.warnings {
        writeln!(text, "warning: {warning}").map_err(|error| Failure::Refused(error.to_string()))?;
    }
    let (count, revision) = (counted(applied.changes.len(), "change"), applied.revision);
    text += &match dry_run {
        true => format!("{count}; nothing was changed (--dry-run)\n"),
        false => format!("{count}; running revision {revision}\n"),
    };
    options.print(applied, text)
}

/// The changes, a line for each field.
fn told(changes: &[ObjectChange]) -> Result<String, Failure> {
    let mut text = String::new();
    for change in changes {
        let whole = ObjectChange { fields: Vec::new(), ..change.clone() };
        let line = whole.to_string();
        let written = writeln!(text, "{}", line.trim_end_matches(": "));
        let fields = change.fields.iter().try_for_each(|field| writeln!(text, "    {field}"));
        written.and(fields).map_err(|error| Failure::Refused(error.to_string()))?;
    }
    Ok(text)
}

fn read(file: &Path) -> Result<String, Failure> {
    let cannot = |error: std::io::Error| Failure::Refused(format!("cannot read {}: {error}", file.display()));
    let mut text = String::new();
    match file == Path::new("-") {
        true => std::io::stdin().take(LARGEST_FILE).read_to_string(&mut text),
        false => std::fs::File::open(file).and_then(|file| file.take(LARGEST_FILE).read_to_string(&mut text)),
    }
    .map_err(cannot)?;
    Ok(text)
}
