//! gRPC goes through: four call types, metadata, trailers, error statuses.

use futures::{SinkExt, channel::mpsc};
use tonic::{Code, Request};

use crate::support::grpc::{Caller, Number};
use crate::support::{Gateway, Origin, soon};

/// A gateway in front of a gRPC service, and a client of it.
async fn calling() -> (Gateway, Caller) {
    let origin = Origin::start().await;
    let url = origin.url();
    let gateway = Gateway::start(&format!(
        "services:\n  numbers: {{ targets: [\"{url}\"], protocol: h2 }}\n\
         routes:\n  - {{ name: numbers, path_pattern: /test.Numbers/*, target_service: numbers }}\n"
    ))
    .await;
    let caller = Caller::connect(gateway.address).await;
    (gateway, caller)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unary_call_and_its_metadata_go_both_ways() {
    let (_gateway, mut caller) = calling().await;
    let mut request = Request::new(Number { value: 21 });
    request.metadata_mut().insert("ask", "who".parse().unwrap());
    let response = caller.double(request).await.unwrap();
    assert_eq!(response.metadata().get("answer").unwrap(), "who");
    assert_eq!(response.get_ref().value, 42);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_status_arrives_with_its_details_and_trailers() {
    let (_gateway, mut caller) = calling().await;
    let status = caller.double(Request::new(Number { value: -1 })).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::OutOfRange, "negative"));
    assert_eq!(status.details(), b"details");
    assert_eq!(status.metadata().get("limit").unwrap(), "0");
    let unknown = caller.unary("/test.Numbers/Unknown", Request::new(Number { value: 1 })).await.unwrap_err();
    assert_eq!((unknown.code(), unknown.message()), (Code::Unimplemented, "Unknown"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_streams_and_may_fail_at_the_end() {
    let (_gateway, mut caller) = calling().await;
    let mut numbers = caller.count(1000).await.unwrap();
    for expected in 1..=1000 {
        assert_eq!(soon("a number", numbers.message()).await.unwrap().unwrap().value, expected);
    }
    assert!(soon("the end", numbers.message()).await.unwrap().is_none());

    let mut numbers = caller.count(-3).await.unwrap();
    for expected in 1..=3 {
        assert_eq!(soon("a number", numbers.message()).await.unwrap().unwrap().value, expected);
    }
    let broken = soon("the error", numbers.message()).await.unwrap_err();
    assert_eq!((broken.code(), broken.message()), (Code::DataLoss, "broken off"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_streams() {
    let (_gateway, mut caller) = calling().await;
    assert_eq!(caller.sum(1..=1000).await.unwrap(), 500_500);
    assert_eq!(caller.sum([]).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_stream_and_wait_for_each_other() {
    let (_gateway, mut caller) = calling().await;
    let (mut sender, receiver) = mpsc::channel(1);
    sender.send(Number { value: 1 }).await.unwrap();
    let mut sums = caller.running_sum(receiver).await.unwrap();
    let mut expected = 1;
    for value in 2..=20 {
        assert_eq!(soon("a sum", sums.message()).await.unwrap().unwrap().value, expected);
        sender.send(Number { value }).await.unwrap();
        expected += value;
    }
    assert_eq!(soon("the last sum", sums.message()).await.unwrap().unwrap().value, 210);
    drop(sender);
    assert!(soon("the end", sums.message()).await.unwrap().is_none());
}
