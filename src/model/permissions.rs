//! Who else may change the configuration: whoever may decides everything that the gateway does.
//!
//! The owner must be root or the user who reads it; of others, nobody may write, and of groups, only root's and the reader's
//! own. That holds for each file, for `conf.d`, and for the folder they are in, where another `conf.d` could be made.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::fault::{Fault, Faults};
use super::place::{File, Place};

const WRITABLE_BY_GROUP: u32 = 0o020;
const WRITABLE_BY_OTHERS: u32 = 0o002;
const ROOT: u32 = 0;

/// Warns if others may change a file of the configuration.
pub(super) fn lint_file(file: &File, path: &Path, faults: &mut Faults) {
    lint(file, "the file", path, faults);
}

/// Warns if others may change the folders of the configuration.
pub(super) fn lint_folders(main: &File, folder: &Path, faults: &mut Faults) {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    lint(main, "its folder", folder, faults);
    lint(main, "its folder conf.d", &folder.join("conf.d"), faults);
}

fn lint(file: &File, what: &str, path: &Path, faults: &mut Faults) {
    // What can't be looked at is told of where it is read.
    let Ok(found) = std::fs::metadata(path) else { return };
    // On Linux, who owns our own process's folder is who we are.
    let Ok(own) = std::fs::metadata("/proc/self") else { return };
    if let Some(who) = who_else(&found, &own) {
        let hint = format!("chown root {0} && chmod go-w {0}", path.display());
        faults.warn(Fault::saying(Place::file(file), format!("{who} may change {what}")).with_hint(hint));
    }
}

fn who_else(found: &Metadata, own: &Metadata) -> Option<String> {
    if found.mode() & WRITABLE_BY_OTHERS != 0 {
        return Some("anyone on this machine".into());
    }
    if ![ROOT, own.uid()].contains(&found.uid()) {
        return Some(format!("the user {} who owns it", found.uid()));
    }
    let of_group = found.mode() & WRITABLE_BY_GROUP != 0 && ![ROOT, own.gid()].contains(&found.gid());
    of_group.then(|| format!("the group {}", found.gid()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown};

    use crate::load;

    /// What is said of a configuration whose parts have these modes: file, part, conf.d, folder.
    fn told(modes: [u32; 4], change: impl FnOnce(&std::path::Path)) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let parts = folder.path().join("conf.d");
        let (file, part) = (folder.path().join("gatekeeper.yaml"), parts.join("a.yaml"));
        fs::create_dir(&parts).unwrap();
        fs::write(&file, "version: 1\n").unwrap();
        fs::write(&part, "log_level: info\n").unwrap();
        for (path, mode) in [&*file, &*part, &*parts, folder.path()].into_iter().zip(modes) {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        change(&file);
        let (_, faults) = load::load(&file);
        assert!(faults.is_empty(), "{faults}");
        faults.lints().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn whoever_may_change_it_is_told_of() {
        for modes in [[0o600, 0o644, 0o755, 0o700], [0o640, 0o444, 0o750, 0o755], [0o660, 0o664, 0o775, 0o775]] {
            assert_eq!(told(modes, |_| ()), [""; 0], "{modes:?}");
        }
        let file = told([0o666, 0o644, 0o755, 0o755], |_| ());
        assert!(file[0].starts_with("gatekeeper.yaml: anyone on this machine may change the file"), "{file:?}");
        let part = told([0o644, 0o602, 0o755, 0o755], |_| ());
        assert!(part[0].starts_with("conf.d/a.yaml: anyone on this machine may change the file"), "{part:?}");
        let parts = told([0o644, 0o644, 0o1777, 0o755], |_| ());
        assert!(
            parts[0].starts_with("gatekeeper.yaml: anyone on this machine may change its folder conf.d"),
            "{parts:?}"
        );
        let folder = told([0o644, 0o644, 0o755, 0o777], |_| ());
        assert!(folder[0].starts_with("gatekeeper.yaml: anyone on this machine may change its folder;"), "{folder:?}");
        assert_eq!([file.len(), part.len(), parts.len(), folder.len()], [1; 4]);
    }

    #[test]
    fn another_owner_or_group_is_told_of() {
        // Only root may give files away.
        let gives = |file: &std::path::Path| chown(file, Some(4711), None).is_ok();
        let mut given = false;
        let owner = told([0o600, 0o644, 0o755, 0o755], |file| given = gives(file));
        if given {
            assert!(owner[0].contains("the user 4711 who owns it may change the file"), "{owner:?}");
            let group = told([0o660, 0o644, 0o755, 0o755], |file| chown(file, None, Some(4711)).unwrap());
            assert!(group[0].contains("the group 4711 may change the file"), "{group:?}");
            assert_eq!(told([0o640, 0o644, 0o755, 0o755], |file| chown(file, None, Some(4711)).unwrap()), [""; 0]);
        }
    }
}
