//! Server-sent events are not held back: each arrives when it is sent.

use http_body_util::BodyExt;

use crate::support::gateway::everything_to;
use crate::support::origin::now_millis;
use crate::support::{Gateway, Origin, Request, soon};

#[tokio::test(flavor = "multi_thread")]
async fn each_event_arrives_within_200_ms() {
    let origin = Origin::start().await;
    let routes = everything_to(origin.url());
    for compression in ["", "compression: { enabled: true }\n"] {
        let gateway = Gateway::start(&format!("{compression}{routes}")).await;
        for mut client in [gateway.h1().await, gateway.h2c().await] {
            let request = Request::get("/sse/5").header("accept-encoding", "gzip, br, zstd");
            let response = soon("the response's head", client.send(request)).await.unwrap();
            assert_eq!(response.headers().get("content-encoding"), None);
            let mut body = response.into_body();
            let mut events = 0;
            while let Some(frame) = soon("an event", body.frame()).await {
                let data = frame.unwrap().into_data().unwrap();
                if data.is_empty() {
                    continue; // HTTP/2 may end a body with an empty frame.
                }
                let sent: u128 = std::str::from_utf8(&data[6..]).unwrap().trim().parse().unwrap();
                assert!(now_millis() - sent < 200, "event {events} took {} ms", now_millis() - sent);
                events += 1;
            }
            assert_eq!(events, 5);
        }
    }
}
