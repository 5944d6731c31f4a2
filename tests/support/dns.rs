//! A DNS server on a free loopback port, over UDP and TCP, whose answers may be changed while it runs.
//!
//! Names are complete and in lower case (`db.example.`). A name nobody spoke of does not exist; one with records of another
//! kind has none of this one. What is longer than 512 bytes is truncated over UDP.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::CNAME;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

/// What one question gets.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Records with their names and TTLs.
    Records(Vec<Record>),
    Code(ResponseCode),
    Silent,
    After(Duration, Box<Reply>),
    /// Over UDP an empty answer that points to TCP.
    OverTcp(Box<Reply>),
    /// The right number, and nothing that makes sense.
    Garbage,
    /// A good answer to somebody else's question.
    WrongId(Box<Reply>),
}

/// It ends with the test.
pub struct DnsServer {
    pub address: SocketAddr,
    zone: Arc<Zone>,
}

#[derive(Default)]
struct Zone {
    replies: Mutex<HashMap<(String, RecordType), Reply>>,
    asked: Mutex<HashMap<(String, RecordType), usize>>,
    over_tcp: AtomicUsize,
}

impl DnsServer {
    pub fn start() -> DnsServer {
        let free = (0..50).find_map(|_| DnsServer::start_at((Ipv4Addr::LOCALHOST, 0).into()));
        free.expect("a port that is free for UDP and TCP")
    }

    /// Takes a port again; nothing while somebody else has it.
    pub fn start_at(address: SocketAddr) -> Option<DnsServer> {
        let udp = UdpSocket::bind(address).ok()?;
        let address = udp.local_addr().ok()?;
        let tcp = TcpListener::bind(address).ok()?;
        udp.set_read_timeout(Some(Duration::from_millis(10))).ok()?;
        tcp.set_nonblocking(true).ok()?;
        let zone = Arc::new(Zone::default());
        let watched = Arc::downgrade(&zone);
        std::thread::spawn(move || {
            while let Some(zone) = watched.upgrade() {
                serve_udp(&udp, &zone);
                while let Ok((stream, _)) = tcp.accept() {
                    let zone = zone.clone();
                    std::thread::spawn(move || serve_tcp(stream, &zone));
                }
            }
        });
        Some(DnsServer { address, zone })
    }

    pub fn reply(&self, name: &str, kind: RecordType, reply: Reply) {
        self.zone.replies.lock().unwrap().insert((name.into(), kind), reply);
    }

    /// The same for addresses of both kinds.
    pub fn reply_to_all(&self, name: &str, reply: Reply) {
        for kind in [RecordType::A, RecordType::AAAA] {
            self.reply(name, kind, reply.clone());
        }
    }

    /// The name has exactly these addresses.
    pub fn addresses(&self, name: &str, ttl: u32, addresses: &[&str]) {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let (four, six): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv4);
        for (kind, addresses) in [(RecordType::A, four), (RecordType::AAAA, six)] {
            self.reply(name, kind, records(addresses.into_iter().map(|address| address_record(name, ttl, address))));
        }
    }

    /// How often it was asked.
    pub fn asked(&self, name: &str, kind: RecordType) -> usize {
        self.zone.asked.lock().unwrap().get(&(name.into(), kind)).copied().unwrap_or_default()
    }

    /// How often it was asked anything.
    pub fn asked_in_all(&self) -> usize {
        self.zone.asked.lock().unwrap().values().sum()
    }

    pub fn asked_over_tcp(&self) -> usize {
        self.zone.over_tcp.load(Ordering::Relaxed)
    }
}

pub fn records(records: impl IntoIterator<Item = Record>) -> Reply {
    Reply::Records(records.into_iter().collect())
}

pub fn address_record(name: &str, ttl: u32, address: IpAddr) -> Record {
    Record::from_rdata(Name::from_ascii(name).unwrap(), ttl, RData::from(address))
}

pub fn alias_record(name: &str, ttl: u32, target: &str) -> Record {
    Record::from_rdata(Name::from_ascii(name).unwrap(), ttl, RData::CNAME(CNAME(Name::from_ascii(target).unwrap())))
}

const LONGEST_DATAGRAM: usize = 512;

fn serve_udp(socket: &UdpSocket, zone: &Arc<Zone>) {
    let mut buffer = [0; 4096];
    let Ok((length, from)) = socket.recv_from(&mut buffer) else { return };
    let Some((question, reply)) = zone.take(&buffer[..length], false) else { return };
    let socket = socket.try_clone().unwrap();
    let answer = move || {
        let Some(mut bytes) = written(&question, reply, false) else { return };
        if bytes.len() > LONGEST_DATAGRAM {
            bytes = truncated(&question).to_vec().unwrap();
        }
        let _ = socket.send_to(&bytes, from);
    };
    std::thread::spawn(answer);
}

fn serve_tcp(mut stream: TcpStream, zone: &Arc<Zone>) {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut bytes = vec![0; u16::from_be_bytes(length).into()];
        let Ok(()) = stream.read_exact(&mut bytes) else { return };
        zone.over_tcp.fetch_add(1, Ordering::Relaxed);
        let Some((question, reply)) = zone.take(&bytes, true) else { return };
        let Some(answer) = written(&question, reply, true) else { continue };
        let framed = [&u16::try_from(answer.len()).unwrap().to_be_bytes(), answer.as_slice()].concat();
        let Ok(()) = stream.write_all(&framed) else { return };
    }
}

impl Zone {
    /// Counts a question, and says what it gets.
    fn take(&self, bytes: &[u8], again: bool) -> Option<(Message, Reply)> {
        let question = Message::from_vec(bytes).ok()?;
        let query = question.queries.first()?;
        let (name, kind) = (query.name().to_string().to_ascii_lowercase(), query.query_type());
        if !again {
            *self.asked.lock().unwrap().entry((name.clone(), kind)).or_default() += 1;
        }
        let replies = self.replies.lock().unwrap();
        let nothing = || match replies.keys().any(|(known, _)| *known == name) {
            true => Reply::Records(Vec::new()),
            false => Reply::Code(ResponseCode::NXDomain),
        };
        let reply = replies.get(&(name.clone(), kind)).cloned().unwrap_or_else(nothing);
        Some((question, reply))
    }
}

/// The answer's bytes, if there is to be one; waits where the reply says so.
fn written(question: &Message, reply: Reply, tcp: bool) -> Option<Vec<u8>> {
    let mut answer = answer_to(question);
    match reply {
        Reply::Records(records) => answer.insert_answers(records),
        Reply::Code(code) => answer.metadata.response_code = code,
        Reply::Silent => return None,
        Reply::After(wait, reply) => {
            std::thread::sleep(wait);
            return written(question, *reply, tcp);
        }
        Reply::OverTcp(reply) if tcp => return written(question, *reply, tcp),
        Reply::OverTcp(_) => answer = truncated(question),
        Reply::Garbage => return Some([&question.id.to_be_bytes()[..], &[0xff; 61]].concat()),
        Reply::WrongId(reply) => {
            let mut bytes = written(question, *reply, tcp)?;
            bytes[0] ^= 1;
            return Some(bytes);
        }
    }
    Some(answer.to_vec().unwrap())
}

fn answer_to(question: &Message) -> Message {
    let mut answer = Message::response(question.id, OpCode::Query);
    answer.add_queries(question.queries.iter().cloned());
    answer.metadata.recursion_available = true;
    answer
}

fn truncated(question: &Message) -> Message {
    let mut answer = answer_to(question);
    answer.metadata.truncation = true;
    answer
}
