//! The sandbox as the AWS SDK's HTTP client: no socket, no TLS, no name to resolve.

use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;

use super::{Sandbox, frame::Reply};

#[derive(Debug, Clone)]
struct Connector(Sandbox);

impl Sandbox {
    /// The HTTP client for an SDK client's configuration. A lost reply comes out as a broken connection, which the SDK
    /// retries as it would AWS's.
    pub fn connector(&self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(Connector(self.clone()));
        http_client_fn(move |_, _| connector.clone())
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let sandbox = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let (parts, body) = request.into_parts();
            let body = body
                .bytes()
                .map(Bytes::copy_from_slice)
                .ok_or_else(|| ConnectorError::user("the sandbox takes bodies from memory only, not streams".into()))?;
            match sandbox.reply(http::Request::from_parts(parts, body)).await {
                Reply::Answered(response) => HttpResponse::try_from(response.map(SdkBody::from))
                    .map_err(|error| ConnectorError::other(error.into(), None)),
                Reply::Lost => Err(ConnectorError::io("the connection was closed before the answer".into())),
            }
        })
    }
}
