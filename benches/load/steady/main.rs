//! A load generator that asks at a constant rate, without coordinated omission.
//!
//! `load-steady ADDRESS REQUESTS RATE SECONDS CONNECTIONS`. ADDRESS is `ip:port`. Each line of the file REQUESTS is one
//! request without a body: `METHOD PATH`, then any number of `Name: value`, with a tab before each; `Host: ADDRESS` is
//! added unless the line has a Host. They are sent in their order, again and again.
//!
//! Request k is due k/RATE after the start, whatever became of those before it. It goes out on a connection that has
//! nothing outstanding, as soon as it is due; if there is none it waits for one, in order. Its latency counts from when
//! it was due. After SECONDS no more become due, and those that did have 3 s left to be sent and answered. What is still
//! without an answer then has failed, and so has what a closing connection left unanswered; its latency is how long it
//! had waited. Connections are kept alive, and opened again when they close.
//!
//! It prints one line of JSON, times in microseconds. `wrong` are the answers with a status from 400; `rate` counts all
//! answers, over SECONDS and what they took longer; `lag_us` is the 99th percentile of how late requests went out though
//! a connection was free: if that is not small, the latencies are the generator's own, or those of what else runs on its
//! core. It never spins, as it shares that core.
//!
//! Known inaccuracy: a latency ends when the answer is read, so another answer read first adds to it. A request on a
//! connection that the server is just closing counts as failed, though a browser would repeat it. An answer with a body
//! has to have a Content-Length; any other ends the program.

use std::error::Error;
use std::fmt::Display;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;

use crate::generator::Generator;
use crate::request::Request;

mod answer;
mod figures;
mod generator;
mod request;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const USAGE: &str = "usage: load-steady ADDRESS REQUESTS RATE SECONDS CONNECTIONS";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let options = match Options::parse(&arguments) {
        Ok(options) => options,
        Err(fault) => {
            eprintln!("load-steady: {fault}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match Generator::new(options).and_then(Generator::run) {
        Ok(figures) => {
            println!("{}", figures.to_json());
            ExitCode::SUCCESS
        }
        Err(fault) => {
            eprintln!("load-steady: {fault}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    address: SocketAddr,
    requests: Vec<Request>,
    rate: f64,
    seconds: f64,
    connections: usize,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let [address, requests, rate, seconds, connections] = arguments else {
            return Err(format!("{} arguments instead of 5", arguments.len()).into());
        };
        let address = address.parse().map_err(|_| format!("ADDRESS {address:?} is not ip:port"))?;
        let text = std::fs::read_to_string(requests).map_err(|fault| format!("REQUESTS {requests}: {fault}"))?;
        Ok(Self {
            address,
            requests: Request::all(&text, address).map_err(|fault| format!("REQUESTS {requests}: {fault}"))?,
            rate: number("RATE", rate, 1e5)?,
            seconds: number("SECONDS", seconds, 3600.0)?,
            connections: number("CONNECTIONS", connections, 10_000)?,
        })
    }
}

fn number<T: FromStr + PartialOrd + Default + Display>(name: &str, text: &str, most: T) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| *number > T::default() && *number <= most);
    number.ok_or_else(|| format!("{name} {text:?} is not a number above 0 and up to {most}"))
}
