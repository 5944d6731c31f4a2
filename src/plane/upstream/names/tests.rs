//! Against a server whose answers are programmed.

use std::time::Instant;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType::{A, AAAA};

use self::server::{DnsServer, Reply, address_record, alias_record, records};
use super::*;

#[path = "../../../../tests/support/dns.rs"]
mod server;

/// Longer than a loopback takes on a busy machine, and not longer than a test may.
const TIMEOUT: Duration = Duration::from_millis(1500);

const NO_HOSTS: &str = "/nonexistent/hosts";

fn asking(servers: &[&DnsServer]) -> Settings {
    Settings {
        manner: Manner::only(servers.iter().map(|server| server.address).collect()),
        hosts_file: NO_HOSTS.into(),
        timeout: TIMEOUT,
        min_ttl: Duration::from_secs(1),
        max_ttl: Duration::from_secs(300),
    }
}

fn impatient(servers: &[&DnsServer]) -> Settings {
    Settings { timeout: Duration::from_millis(150), ..asking(servers) }
}

fn searching(server: &DnsServer, search: &[&str]) -> Settings {
    let mut settings = asking(&[server]);
    settings.manner.search = search.iter().map(|domain| Name::from_ascii(domain).unwrap()).collect();
    settings
}

fn answer(addresses: &[&str], seconds: u64) -> Result<Answer, String> {
    let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
    Ok(Answer { addresses, fresh_for: Duration::from_secs(seconds), is_whole: true })
}

async fn look_up(settings: Settings, host: &str) -> Result<Answer, String> {
    Names::new(settings).look_up(host).await
}

fn code(code: ResponseCode) -> Reply {
    Reply::Code(code)
}

fn one(address: &str, ttl: u32) -> Reply {
    records([address_record("db.example.", ttl, address.parse().unwrap())])
}

#[tokio::test]
async fn all_addresses_of_both_kinds_come_in_order() {
    let dns = DnsServer::start();
    dns.addresses("db.example.", 60, &["10.0.0.9", "::2", "10.0.0.1", "::1", "10.0.0.9"]);
    let wanted = answer(&["10.0.0.1", "10.0.0.9", "::1", "::2"], 60);
    assert_eq!(look_up(asking(&[&dns]), "db.example").await, wanted);
    assert_eq!(look_up(asking(&[&dns]), "DB.Example.").await, wanted);
    dns.addresses("db.example.", 60, &["::1"]);
    assert_eq!(look_up(asking(&[&dns]), "db.example").await, answer(&["::1"], 60));
}

#[tokio::test]
async fn the_smallest_ttl_counts_within_its_bounds() {
    let dns = DnsServer::start();
    for (four, six, wanted) in [(60, 30, 30), (30, 60, 30), (0, 60, 1), (400, 500, 300), (u32::MAX, u32::MAX, 300)] {
        dns.reply("db.example.", A, one("10.0.0.1", four));
        dns.reply("db.example.", AAAA, one("::1", six));
        assert_eq!(look_up(asking(&[&dns]), "db.example").await, answer(&["10.0.0.1", "::1"], wanted), "{four} {six}");
    }
    let of_one_kind = [50, 20].map(|ttl| address_record("db.example.", ttl, Ipv4Addr::from(ttl).into()));
    dns.reply("db.example.", A, records(of_one_kind));
    dns.reply("db.example.", AAAA, records([]));
    assert_eq!(look_up(asking(&[&dns]), "db.example").await, answer(&["0.0.0.20", "0.0.0.50"], 20));
}

#[tokio::test]
async fn nothing_is_remembered() {
    let dns = DnsServer::start();
    let names = Names::new(asking(&[&dns]));
    dns.addresses("db.example.", 60, &["10.0.0.1"]);
    assert_eq!(names.look_up("db.example").await, answer(&["10.0.0.1"], 60));
    dns.addresses("db.example.", 60, &["10.0.0.2"]);
    assert_eq!(names.look_up("db.example").await, answer(&["10.0.0.2"], 60));
    assert!(dns.asked("db.example.", A) >= 2);
}

#[tokio::test]
async fn aliases_are_followed_and_their_ttl_counts() {
    let dns = DnsServer::start();
    let whole = [
        alias_record("db.example.", 40, "a.example."),
        alias_record("a.example.", 20, "b.example."),
        address_record("b.example.", 60, Ipv4Addr::LOCALHOST.into()),
    ];
    dns.reply("db.example.", A, records(whole));
    assert_eq!(look_up(asking(&[&dns]), "db.example").await, answer(&["127.0.0.1"], 20));
    // A server that leaves the rest to the one who asks.
    for (name, target, ttl) in [("x.example.", "y.example.", 15), ("y.example.", "z.example.", 50)] {
        dns.reply_to_all(name, records([alias_record(name, ttl, target)]));
    }
    dns.addresses("z.example.", 60, &["10.0.0.1", "::1"]);
    assert_eq!(look_up(asking(&[&dns]), "x.example").await, answer(&["10.0.0.1", "::1"], 15));
}

#[tokio::test]
async fn aliases_that_lead_nowhere_or_in_a_circle_are_no_addresses() {
    let dns = DnsServer::start();
    for (name, target) in
        [("lost.example.", "none.example."), ("a.example.", "b.example."), ("b.example.", "a.example.")]
    {
        dns.reply_to_all(name, records([alias_record(name, 60, target)]));
    }
    assert_eq!(look_up(asking(&[&dns]), "lost.example").await, Err("NXDOMAIN".into()));
    assert_eq!(look_up(asking(&[&dns]), "a.example").await, Err("it has no addresses".into()));
    assert!(dns.asked_in_all() < 100, "{}", dns.asked_in_all());
}

#[tokio::test]
async fn failures_are_told_apart() {
    let dns = DnsServer::start();
    let address = dns.address;
    let cases = [
        (code(ResponseCode::NXDomain), "NXDOMAIN".to_owned()),
        (records([]), "it has no addresses".into()),
        (code(ResponseCode::ServFail), format!("{address} answered SERVFAIL")),
        (code(ResponseCode::Refused), format!("{address} answered REFUSED")),
        (Reply::Silent, format!("{address} did not answer in time")),
        (Reply::WrongId(Box::new(one("10.0.0.6", 60))), format!("{address} did not answer in time")),
        (
            Reply::After(Duration::from_secs(5), Box::new(one("10.0.0.6", 60))),
            format!("{address} did not answer in time"),
        ),
        (Reply::OverTcp(Box::new(Reply::Silent)), format!("{address} did not answer in time")),
    ];
    for (reply, wanted) in cases {
        dns.reply_to_all("db.example.", reply.clone());
        assert_eq!(look_up(impatient(&[&dns]), "db.example").await, Err(wanted), "{reply:?}");
    }
    dns.reply_to_all("db.example.", Reply::Garbage);
    let why = look_up(impatient(&[&dns]), "db.example").await.unwrap_err();
    assert!(why.starts_with(&format!("the answer of {address} cannot be used: ")), "{why}");
}

#[tokio::test]
async fn one_kind_of_addresses_suffices() {
    let dns = DnsServer::start();
    let failures = [
        code(ResponseCode::ServFail),
        code(ResponseCode::NXDomain),
        code(ResponseCode::NotImp),
        Reply::Silent,
        Reply::Garbage,
        records([]),
    ];
    for (place, failure) in failures.into_iter().enumerate() {
        let is_whole = [1, 5].contains(&place);
        let wanted = |address| answer(&[address], 60).map(|answer| Answer { is_whole, ..answer });
        dns.reply("db.example.", A, one("10.0.0.1", 60));
        dns.reply("db.example.", AAAA, failure.clone());
        assert_eq!(look_up(impatient(&[&dns]), "db.example").await, wanted("10.0.0.1"), "{failure:?}");
        dns.reply("db.example.", A, failure.clone());
        dns.reply("db.example.", AAAA, one("::1", 60));
        assert_eq!(look_up(impatient(&[&dns]), "db.example").await, wanted("::1"), "{failure:?}");
    }
}

/// That there is no address of one kind says nothing of the other kind.
#[tokio::test]
async fn a_failure_outweighs_an_empty_answer_of_the_other_kind() {
    let dns = DnsServer::start();
    dns.reply("db.example.", A, records([]));
    dns.reply("db.example.", AAAA, code(ResponseCode::ServFail));
    let failed = Err(format!("{} answered SERVFAIL", dns.address));
    assert_eq!(look_up(asking(&[&dns]), "db.example").await, failed);
}

#[tokio::test]
async fn a_long_answer_comes_over_tcp() {
    let dns = DnsServer::start();
    let addresses: Vec<_> = (1..=60_u32).map(|number| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | number))).collect();
    dns.reply("db.example.", A, records(addresses.iter().map(|address| address_record("db.example.", 60, *address))));
    let found = look_up(asking(&[&dns]), "db.example").await.unwrap();
    assert_eq!(found.addresses, addresses);
    assert_eq!(dns.asked_over_tcp(), 1);
    dns.reply("db.example.", A, Reply::OverTcp(Box::new(one("10.0.0.1", 60))));
    assert_eq!(look_up(asking(&[&dns]), "db.example").await, answer(&["10.0.0.1"], 60));
    assert_eq!(dns.asked_over_tcp(), 2);
}

#[tokio::test]
async fn a_name_has_a_bounded_number_of_addresses() {
    let dns = DnsServer::start();
    let addresses: Vec<_> = (1..=200_u32).map(|number| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | number))).collect();
    dns.reply("db.example.", A, records(addresses.iter().map(|address| address_record("db.example.", 60, *address))));
    dns.reply("db.example.", AAAA, records([address_record("db.example.", 60, "::1".parse().unwrap())]));
    let found = look_up(asking(&[&dns]), "db.example").await.unwrap();
    assert_eq!(found.addresses, addresses[..64], "the lowest, so that they are the same ones each time");
}

#[tokio::test]
async fn silence_costs_a_bounded_time() {
    let (dns, second) = (DnsServer::start(), DnsServer::start());
    for server in [&dns, &second] {
        server.reply_to_all("db.example.", Reply::Silent);
    }
    let settings = impatient(&[&dns, &second]);
    let (patience, started) = (settings.timeout * 4, Instant::now());
    assert!(look_up(settings, "db.example").await.is_err());
    let taken = started.elapsed();
    assert!(
        (patience - Duration::from_millis(50)..patience + Duration::from_millis(700)).contains(&taken),
        "{taken:?}"
    );
}

#[tokio::test]
async fn a_late_answer_is_awaited() {
    let dns = DnsServer::start();
    dns.reply("db.example.", A, Reply::After(TIMEOUT / 2, Box::new(one("10.0.0.1", 60))));
    assert_eq!(look_up(asking(&[&dns]), "db.example").await, answer(&["10.0.0.1"], 60));
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_fails_and_only_then() {
    let (first, second) = (DnsServer::start(), DnsServer::start());
    second.addresses("db.example.", 60, &["10.0.0.2"]);
    for failure in [Reply::Silent, code(ResponseCode::ServFail), code(ResponseCode::Refused), Reply::Garbage] {
        first.reply_to_all("db.example.", failure.clone());
        let found = look_up(impatient(&[&first, &second]), "db.example").await;
        assert_eq!(found, answer(&["10.0.0.2"], 60), "{failure:?}");
    }
    let before = second.asked_in_all();
    first.addresses("db.example.", 60, &["10.0.0.1"]);
    assert_eq!(look_up(asking(&[&first, &second]), "db.example").await, answer(&["10.0.0.1"], 60));
    assert!(look_up(asking(&[&first, &second]), "none.example").await.is_err());
    assert_eq!(second.asked_in_all(), before);
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_again() {
    let dns = DnsServer::start();
    let address = dns.address;
    let names = Names::new(impatient(&[&dns]));
    dns.reply("db.example.", A, Reply::OverTcp(Box::new(one("10.0.0.1", 60))));
    assert_eq!(names.look_up("db.example").await, answer(&["10.0.0.1"], 60));
    drop(dns);
    let dead = async || names.look_up("db.example").await.is_err();
    let started = Instant::now();
    while !dead().await {
        assert!(started.elapsed() < Duration::from_secs(10), "it never died");
    }
    let back = loop {
        assert!(started.elapsed() < Duration::from_secs(20), "the port is never free");
        match DnsServer::start_at(address) {
            Some(dns) => break dns,
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    back.addresses("db.example.", 60, &["10.0.0.2"]);
    assert_eq!(names.look_up("db.example").await, answer(&["10.0.0.2"], 60));
}

#[tokio::test]
async fn domains_are_searched_in_order() {
    let dns = DnsServer::start();
    let settings = || searching(&dns, &["a.example.", "b.example."]);
    dns.addresses("db.b.example.", 60, &["10.0.0.2"]);
    assert_eq!(look_up(settings(), "db").await, answer(&["10.0.0.2"], 60));
    assert_eq!(dns.asked("db.", A), 0);
    dns.addresses("db.", 60, &["10.0.0.3"]);
    assert_eq!(look_up(settings(), "db.").await, answer(&["10.0.0.3"], 60));
    dns.addresses("db.a.example.", 60, &["10.0.0.1"]);
    assert_eq!(look_up(settings(), "db").await, answer(&["10.0.0.1"], 60));
    // A dot: complete first, but perhaps not complete.
    dns.addresses("x.y.a.example.", 60, &["10.0.0.4"]);
    assert_eq!(look_up(settings(), "x.y").await, answer(&["10.0.0.4"], 60));
    assert!(dns.asked("x.y.", A) > 0);
}

#[tokio::test]
async fn the_search_goes_on_over_failures_and_stops_at_silence() {
    let dns = DnsServer::start();
    dns.addresses("db.", 60, &["10.0.0.1"]);
    let settings = || Settings { timeout: Duration::from_millis(150), ..searching(&dns, &["a.example."]) };
    for (reply, goes_on) in
        [(records([]), true), (code(ResponseCode::ServFail), true), (Reply::Garbage, true), (Reply::Silent, false)]
    {
        dns.reply_to_all("db.a.example.", reply.clone());
        assert_eq!(look_up(settings(), "db").await.is_ok(), goes_on, "{reply:?}");
    }
    // The worst of it is told.
    dns.reply_to_all("db.a.example.", code(ResponseCode::ServFail));
    dns.reply_to_all("db.", code(ResponseCode::NXDomain));
    assert_eq!(look_up(settings(), "db").await, Err(format!("{} answered SERVFAIL", dns.address)));
}

#[tokio::test]
async fn some_names_need_no_server() {
    let dns = DnsServer::start();
    let folder = tempfile::tempdir().unwrap();
    let hosts_file = folder.path().join("hosts");
    std::fs::write(&hosts_file, "10.0.0.7 db db.example\n").unwrap();
    dns.addresses("db.example.", 60, &["10.0.0.1", "::1"]);
    let names = Names::new(Settings { hosts_file: hosts_file.clone(), ..searching(&dns, &["a.example."]) });
    assert_eq!(names.look_up("Db.Example.").await, answer(&["10.0.0.7"], 300));
    assert_eq!(names.look_up("localhost").await, answer(&["127.0.0.1", "::1"], 300));
    assert_eq!(names.look_up("api.LOCALHOST.").await, answer(&["127.0.0.1", "::1"], 300));
    assert_eq!(names.look_up("10.1.2.3").await, answer(&["10.1.2.3"], 300));
    assert_eq!(names.look_up("2001:db8::1").await, answer(&["2001:db8::1"], 300));
    // The file is read each time.
    std::fs::write(&hosts_file, "127.0.0.2 localhost\n10.0.0.8 db.example\n").unwrap();
    assert_eq!(names.look_up("localhost").await, answer(&["127.0.0.2"], 300));
    assert_eq!(names.look_up("db.example").await, answer(&["10.0.0.8"], 300));
    assert_eq!(dns.asked_in_all(), 0);
    std::fs::remove_file(&hosts_file).unwrap();
    assert_eq!(names.look_up("db.example").await, answer(&["10.0.0.1", "::1"], 60));
}

#[tokio::test]
async fn what_is_no_name_is_not_asked_for() {
    let dns = DnsServer::start();
    let names = Names::new(searching(&dns, &["a.example."]));
    for host in ["", ".", "a..b", &"x".repeat(64)] {
        assert_eq!(names.look_up(host).await, Err("it is not a host name".into()), "{host}");
    }
    assert_eq!(dns.asked_in_all(), 0);
}

#[tokio::test]
async fn many_names_at_once_take_turns() {
    let dns = DnsServer::start();
    let names: Vec<_> = (0..300).map(|number| format!("n{number}.example.")).collect();
    names.iter().enumerate().for_each(|(number, name)| dns.addresses(name, 60, &[&format!("10.0.1.{}", number % 256)]));
    let hosts: Vec<String> = names.clone();
    let asking = asking(&[&dns]);
    let found = tokio::task::spawn_blocking(move || {
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        Names::new(asking).look_up_all(&hosts, Duration::from_secs(20))
    });
    let found = found.await.unwrap();
    assert_eq!(found.len(), 300);
    for (number, name) in names.iter().enumerate() {
        assert_eq!(found[name], answer(&[&format!("10.0.1.{}", number % 256)], 60));
    }
}

#[test]
fn a_look_up_of_all_ends_in_time_with_what_is_known() {
    let dns = DnsServer::start();
    dns.addresses("good.example.", 60, &["10.0.0.1"]);
    dns.addresses("half.example.", 60, &["10.0.0.2"]);
    dns.reply("half.example.", AAAA, Reply::Silent);
    let silent: Vec<_> = (0..200).map(|number| format!("silent{number}.example.")).collect();
    for name in &silent {
        dns.reply_to_all(name, Reply::Silent);
    }
    let mut hosts = vec!["good.example.", "half.example.", "none.example.", "", "10.0.0.3"];
    hosts.extend(silent.iter().map(String::as_str));
    let (names, started) = (Names::new(asking(&[&dns])), Instant::now());
    let found = names.look_up_all(&hosts, Duration::from_secs(1));
    let taken = started.elapsed();
    assert!(taken < Duration::from_millis(1800), "{taken:?}");
    assert_eq!(found["none.example."], Err("NXDOMAIN".into()));
    let mut known: Vec<_> = found.iter().filter(|(_, found)| found.is_ok()).map(|(name, _)| name.as_str()).collect();
    known.sort_unstable();
    assert_eq!(known, ["10.0.0.3", "good.example.", "half.example."]);
    // The others were waiting for their turn.
    let asked = silent.iter().filter(|name| dns.asked(name, A) > 0).count();
    assert!((1..=AT_ONCE).contains(&asked), "{asked}");
    assert_eq!(Names::new(impatient(&[&dns])).look_up_all(&[], Duration::ZERO), HashMap::new());
}

/// One `Names` serves several runtimes, one after the other and at once.
#[test]
fn it_is_bound_to_no_runtime() {
    let dns = DnsServer::start();
    dns.reply("db.example.", A, Reply::OverTcp(Box::new(one("10.0.0.1", 60))));
    let names = Names::new(asking(&[&dns]));
    for _ in 0..3 {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        assert_eq!(runtime.block_on(names.look_up("db.example")), answer(&["10.0.0.1"], 60));
        assert_eq!(names.look_up_all(&["db.example"], TIMEOUT)["db.example"], answer(&["10.0.0.1"], 60));
        let blocking = names.clone();
        let all = runtime.spawn_blocking(move || blocking.look_up_all(&["db.example"], TIMEOUT));
        assert_eq!(runtime.block_on(all).unwrap()["db.example"], answer(&["10.0.0.1"], 60));
    }
}

/// Nothing stays behind: no task, no socket.
#[test]
fn a_look_up_leaves_nothing_behind() {
    let dns = DnsServer::start();
    dns.reply("db.example.", A, Reply::OverTcp(Box::new(one("10.0.0.1", 60))));
    dns.reply("silent.example.", A, Reply::Silent);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let names = Names::new(impatient(&[&dns]));
    runtime.block_on(async {
        for _ in 0..5 {
            assert!(names.look_up("db.example").await.is_ok());
            assert!(names.look_up("silent.example").await.is_err());
        }
        let started = Instant::now();
        while tokio::runtime::Handle::current().metrics().num_alive_tasks() > 0 {
            assert!(started.elapsed() < Duration::from_secs(10), "tasks are left");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

fn compiled(raw: &raw::Dns) -> (Option<Names>, String) {
    let mut faults = Faults::default();
    let names = Names::compile(raw, &Place::new("dns"), &mut faults);
    (names, faults.to_string())
}

#[test]
fn settings_are_compiled_and_compared() {
    let raw = |servers: &[&str]| raw::Dns {
        servers: servers.iter().map(|text| text.to_string()).collect(),
        ..raw::Dns::default()
    };
    let servers = raw(&["192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353"]);
    let (names, faults) = compiled(&servers);
    let names = names.expect(&faults);
    let wanted = ["192.0.2.53:53", "192.0.2.53:5353", "[2001:db8::53]:53", "[2001:db8::53]:5353"];
    assert_eq!(names.settings.manner, Manner::only(wanted.map(|text| text.parse().unwrap()).to_vec()));
    assert_eq!(compiled(&servers).0.unwrap(), names);
    assert_ne!(compiled(&raw(&["192.0.2.53"])).0.unwrap(), names);
    let other = raw::Dns { max_ttl: gatekeeper_model::value::Period::from_secs(1), ..servers };
    assert_ne!(compiled(&other).0.unwrap(), names);
    assert!(compiled(&raw(&[])).0.is_some());
}

#[test]
fn wrong_settings_are_named_with_their_place() {
    let period = |milliseconds| gatekeeper_model::value::Period(Duration::from_millis(milliseconds));
    let raw = raw::Dns {
        servers: ["dns.example", "192.0.2.53", "192.0.2.53:0", "192.0.2.53:99999", ""].map(String::from).to_vec(),
        timeout: period(1),
        min_ttl: period(10),
        max_ttl: period(90_000_000),
    };
    let (names, faults) = compiled(&raw);
    assert_eq!(names, None);
    let places: Vec<_> = faults.lines().map(|line| line.split(": found").next().unwrap()).collect();
    let wanted = [
        "dns.max_ttl",
        "dns.min_ttl",
        "dns.servers[0]",
        "dns.servers[2]",
        "dns.servers[3]",
        "dns.servers[4]",
        "dns.timeout",
    ];
    assert_eq!(places, wanted);
    let (names, faults) = compiled(&raw::Dns { min_ttl: period(2000), max_ttl: period(1000), ..raw::Dns::default() });
    assert_eq!((names, faults.as_str()), (None, "dns.min_ttl: longer than max_ttl\n"));
}
