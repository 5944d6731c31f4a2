//! A gRPC service with all four call types, and its client, on tonic without generated code.

use std::net::SocketAddr;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use http::uri::PathAndQuery;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, IntoStreamingRequest, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::{Body, soon};

/// The only message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Number {
    #[prost(int64, tag = "1")]
    pub value: i64,
}

type Codec = ProstCodec<Number, Number>;
type Numbers = BoxStream<'static, Result<Number, Status>>;

fn number(value: i64) -> Number {
    Number { value }
}

/// Answers a call of the service `test.Numbers`.
pub async fn answer(request: http::Request<Incoming>) -> http::Response<Body> {
    let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let mut server = tonic::server::Grpc::new(Codec::default());
    let response = match method.as_str() {
        "Double" => server.unary(service_fn(double), request).await,
        "Count" => server.server_streaming(service_fn(count), request).await,
        "Sum" => server.client_streaming(service_fn(sum), request).await,
        "Fail" => server.unary(service_fn(fail), request).await,
        "FailLate" => server.server_streaming(service_fn(fail_late), request).await,
        "RunningSum" => server.streaming(service_fn(running_sum), request).await,
        _ => Status::unimplemented(method).into_http(),
    };
    response.map(|body| body.map_err(Into::into).boxed_unsync())
}

/// Twice the number; negative ones are refused, with a trailer. The metadata `ask` comes back as `answer`.
async fn double(request: Request<Number>) -> Result<Response<Number>, Status> {
    let asked = request.metadata().get("ask").cloned();
    let value = request.into_inner().value;
    if value < 0 {
        let mut trailers = MetadataMap::new();
        trailers.insert("limit", MetadataValue::from_static("0"));
        return Err(Status::with_details_and_metadata(Code::OutOfRange, "negative", Bytes::from("details"), trailers));
    }
    let mut response = Response::new(number(2 * value));
    if let Some(asked) = asked {
        response.metadata_mut().insert("answer", asked);
    }
    Ok(response)
}

/// 1, 2, … to the number; for -n the stream breaks off with an error after n.
async fn count(request: Request<Number>) -> Result<Response<Numbers>, Status> {
    let last = request.into_inner().value;
    let numbers = stream::iter((1..=last.abs()).map(|value| Ok(number(value))));
    let failure = stream::iter((last < 0).then(|| Err(Status::data_loss("broken off"))));
    Ok(Response::new(numbers.chain(failure).boxed()))
}

/// Fails with the code that the number is, at once.
async fn fail(request: Request<Number>) -> Result<Response<Number>, Status> {
    Err(Status::new(Code::from(request.into_inner().value as i32), "as asked"))
}

/// The same after a message.
async fn fail_late(request: Request<Number>) -> Result<Response<Numbers>, Status> {
    let failure = Status::new(Code::from(request.into_inner().value as i32), "as asked");
    Ok(Response::new(stream::iter([Ok(number(1)), Err(failure)]).boxed()))
}

async fn sum(request: Request<Streaming<Number>>) -> Result<Response<Number>, Status> {
    let mut numbers = request.into_inner();
    let mut sum = 0;
    while let Some(number) = numbers.message().await? {
        sum += number.value;
    }
    Ok(Response::new(number(sum)))
}

/// Answers each number at once with the sum so far.
async fn running_sum(request: Request<Streaming<Number>>) -> Result<Response<Numbers>, Status> {
    let sums = request.into_inner().scan(0, |sum, next| {
        *sum += next.as_ref().map_or(0, |number| number.value);
        futures::future::ready(Some(next.map(|_| number(*sum))))
    });
    Ok(Response::new(sums.boxed()))
}

/// A client of the service.
pub struct Caller(tonic::client::Grpc<Channel>);

impl Caller {
    pub async fn connect(address: SocketAddr) -> Caller {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        Caller(tonic::client::Grpc::new(endpoint.connect().await.unwrap()))
    }

    pub async fn double(&mut self, request: Request<Number>) -> Result<Response<Number>, Status> {
        self.unary("/test.Numbers/Double", request).await
    }

    /// A unary call of any method.
    pub async fn unary(&mut self, path: &'static str, request: Request<Number>) -> Result<Response<Number>, Status> {
        self.0.ready().await.unwrap();
        soon("a call", self.0.unary(request, PathAndQuery::from_static(path), Codec::default())).await
    }

    pub async fn count(&mut self, last: i64) -> Result<Streaming<Number>, Status> {
        self.0.ready().await.unwrap();
        let path = PathAndQuery::from_static("/test.Numbers/Count");
        let call = self.0.server_streaming(Request::new(number(last)), path, Codec::default());
        soon("a call", call).await.map(Response::into_inner)
    }

    pub async fn sum(&mut self, values: impl IntoIterator<Item = i64>) -> Result<i64, Status> {
        self.0.ready().await.unwrap();
        let numbers: Vec<_> = values.into_iter().map(number).collect();
        let path = PathAndQuery::from_static("/test.Numbers/Sum");
        let call = self.0.client_streaming(Request::new(stream::iter(numbers)), path, Codec::default());
        soon("a call", call).await.map(|response| response.into_inner().value)
    }

    pub async fn running_sum(
        &mut self,
        numbers: impl Stream<Item = Number> + Send + 'static,
    ) -> Result<Streaming<Number>, Status> {
        self.0.ready().await.unwrap();
        let path = PathAndQuery::from_static("/test.Numbers/RunningSum");
        let call = self.0.streaming(numbers.into_streaming_request(), path, Codec::default());
        soon("a call", call).await.map(Response::into_inner)
    }
}
