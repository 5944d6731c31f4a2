//! The units by systemd's own judgement, and what they and the gateway must agree on.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd");
const UNITS: [&str; 3] = ["gatekeeper.service", "gatekeeper.socket", "gatekeeper-admin.socket"];
const BINARY: &str = env!("CARGO_BIN_EXE_gatekeeper");

fn text(name: &str) -> String {
    fs::read_to_string(Path::new(FOLDER).join(name)).unwrap()
}

/// The values of a setting.
fn settings(name: &str, key: &str) -> Vec<String> {
    let prefix = format!("{key}=");
    text(name).lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
}

/// Runs a program to its end: whether it went well, and all that it said.
fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_units_verify() {
    let folder = tempfile::tempdir().unwrap();
    let paths = UNITS.map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    for (name, path) in UNITS.iter().zip(&paths) {
        fs::write(path, text(name).replace("/usr/bin/gatekeeper", BINARY)).unwrap();
    }
    let arguments: Vec<_> = ["verify", "--man=no"].into_iter().chain(paths.iter().map(String::as_str)).collect();
    assert_eq!(run("systemd-analyze", &arguments), (true, String::new()));
}

#[test]
fn the_service_is_exposed_little() {
    let unit = format!("{FOLDER}/gatekeeper.service");
    let judge =
        |unit: &str| run("systemd-analyze", &["security", "--offline=true", "--no-pager", "--threshold=15", unit]);
    let (good, said) = judge(&unit);
    assert!(good, "{said}");
    assert!(said.contains("Overall exposure level for gatekeeper.service: 1."), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let open = folder.path().join("open.service");
    fs::write(&open, "[Service]\nExecStart=/bin/true\n").unwrap();
    assert!(!judge(open.to_str().unwrap()).0, "the judge refuses what is not confined");
}

#[test]
fn the_user_and_its_folders_can_be_made() {
    let root = tempfile::tempdir().unwrap();
    let at_root = format!("--root={}", root.path().display());
    fs::create_dir(root.path().join("etc")).unwrap();
    let (good, said) = run("systemd-sysusers", &[&at_root, &format!("{FOLDER}/gatekeeper.sysusers")]);
    assert!(good, "{said}");
    let passwd = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    assert!(
        passwd.starts_with("gatekeeper:x:") && passwd.contains(":/var/lib/gatekeeper:/usr/sbin/nologin"),
        "{passwd}"
    );
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        let folders = run("systemd-tmpfiles", &["--create", &at_root, &format!("{FOLDER}/gatekeeper.tmpfiles")]);
        assert_eq!(folders, (true, String::new()), "only root may give folders away");
        let mode = |name: &str| fs::metadata(root.path().join("etc/gatekeeper").join(name)).unwrap().mode() & 0o777;
        assert_eq!(["", "conf.d", "tls", "credentials"].map(mode), [0o750, 0o750, 0o750, 0o700]);
    }
}

#[test]
fn the_units_say_what_the_gateway_understands() {
    for key in ["ExecStart", "ExecReload"] {
        for command in settings("gatekeeper.service", key) {
            let mut words = command.split(' ');
            assert_eq!(words.next(), Some("/usr/bin/gatekeeper"));
            let arguments: Vec<_> = words.chain(["--help"]).collect();
            let (good, said) = run(BINARY, &arguments);
            assert!(good, "{command}: {said}");
        }
    }
    let default = fs::read_to_string(Path::new(FOLDER).join("../conf/gatekeeper.yaml")).unwrap();
    let grace: u64 = default.split_once("\n  grace: ").unwrap().1.split_once("s\n").unwrap().0.parse().unwrap();
    let timeout: u64 = settings("gatekeeper.service", "TimeoutStopSec").remove(0).parse().unwrap();
    assert!(timeout >= grace + 10, "systemd waits {timeout} s, the gateway {grace} s");
}

/// Every link between installed documents has its target.
fn links_lead_somewhere(documents: &Path) {
    let pages = fs::read_dir(documents.join("docs")).unwrap().map(|page| page.unwrap().path());
    let top = ["README.md", "SECURITY.md", "ARCHITECTURE.md"].map(|name| documents.join(name));
    for page in pages.chain(top) {
        let text = fs::read_to_string(&page).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')?.0.split('#').next());
        for link in links.filter(|link| !link.starts_with("http")) {
            assert!(page.parent().unwrap().join(link).exists(), "{}: {link}", page.display());
        }
    }
}

#[test]
fn an_installation_is_whole_and_keeps_a_configuration() {
    let root = tempfile::tempdir().unwrap();
    let make = |target: &str| {
        let at_root = [format!("DESTDIR={}", root.path().display()), format!("BINARY={BINARY}")];
        let arguments = ["-C", env!("CARGO_MANIFEST_DIR"), target, "PREFIX=/usr", &at_root[0], &at_root[1]];
        let (good, said) = run("make", &arguments);
        assert!(good, "{said}");
    };
    make("install");
    let installed = |path: &str| root.path().join(path);
    let unit = fs::read_to_string(installed("usr/lib/systemd/system/gatekeeper.service")).unwrap();
    assert!(unit.contains("\nExecStart=/usr/bin/gatekeeper run"), "{unit}");
    let manual = fs::read_to_string(installed("usr/share/man/man1/gatekeeper.1")).unwrap();
    let pages = manual.lines().filter_map(|line| line.strip_prefix("gatekeeper\\-")?.strip_suffix("(1)"));
    let pages: Vec<_> =
        pages.map(|page| format!("usr/share/man/man1/gatekeeper-{}.1", page.replace('\\', ""))).collect();
    assert!(pages.len() > 15, "{manual}");
    for page in pages {
        assert!(installed(&page).exists(), "{page}");
    }
    for file in ["etc/logrotate.d/gatekeeper", "usr/share/doc/gatekeeper/conf/examples/https.yaml"] {
        assert!(installed(file).exists(), "{file}");
    }
    links_lead_somewhere(&installed("usr/share/doc/gatekeeper"));
    let whole = fs::metadata(BINARY).unwrap().len();
    assert!(fs::metadata(installed("usr/bin/gatekeeper")).unwrap().len() < whole / 2, "the binary is stripped");
    let file = installed("etc/gatekeeper/gatekeeper.yaml");
    let check = run(installed("usr/bin/gatekeeper").to_str().unwrap(), &["check", "-c", file.to_str().unwrap()]);
    assert!(check.0, "{}", check.1);
    fs::write(&file, "mine").unwrap();
    make("install");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    make("uninstall");
    let left = run("find", &[root.path().to_str().unwrap(), "-type", "f", "-path", "*gatekeeper*"]).1;
    assert_eq!(left.lines().filter(|path| !path.contains("/etc/gatekeeper/")).count(), 0, "{left}");
}

#[test]
fn each_kernel_setting_exists_and_has_its_reason() {
    let text = text("gatekeeper.sysctl");
    let mut lines = 0;
    for paragraph in text.split("\n\n") {
        assert!(paragraph.starts_with("# "), "{paragraph}");
        for line in paragraph.lines().filter(|line| !line.starts_with('#')) {
            let (key, value) = line.split_once(" = ").unwrap();
            assert!(Path::new("/proc/sys").join(key.replace('.', "/")).exists(), "{key}");
            assert!(value.split(' ').all(|number| number.parse::<u64>().is_ok()), "{line}");
            lines += 1;
        }
    }
    assert!(lines > 5);
}
