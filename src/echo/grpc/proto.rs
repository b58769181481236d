//! The messages of `echo.proto`, as prost reads them.

/// What is asked.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EchoRequest {
    /// What comes back.
    #[prost(string, tag = "1")]
    pub message: String,
    /// A gRPC status other than 0 ends the call with it.
    #[prost(uint32, tag = "2")]
    pub status: u32,
}

/// What was received.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EchoResponse {
    /// The request's message.
    #[prost(string, tag = "1")]
    pub message: String,
    /// The path of the request.
    #[prost(string, tag = "2")]
    pub method: String,
    /// HTTP/2's `:authority`.
    #[prost(string, tag = "3")]
    pub authority: String,
    /// The request's headers.
    #[prost(message, repeated, tag = "4")]
    pub metadata: Vec<Metadata>,
    /// Who sent it.
    #[prost(string, tag = "5")]
    pub remote_address: String,
    /// `TLSv1.3` and so on; empty over plain connections.
    #[prost(string, tag = "6")]
    pub tls_version: String,
    /// The pod that answers.
    #[prost(string, tag = "7")]
    pub pod: String,
    /// Its namespace.
    #[prost(string, tag = "8")]
    pub namespace: String,
    /// Its Service.
    #[prost(string, tag = "9")]
    pub service: String,
}

/// One value of one header.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Metadata {
    /// The header's name, in lower case.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}
