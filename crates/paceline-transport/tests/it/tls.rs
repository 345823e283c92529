//! TLS as the reqwest transport speaks it: whose certificates, which HTTP, which proxy.

use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Version};
use paceline_transport::reqwest::ReqwestTransport;
use paceline_transport::{ApiKey, Reach, Transport, TransportError, TransportErrorKind};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A CA of this test's own.
struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// What a server with a certificate for this name needs; it is valid until that year.
    fn server(&self, name: &str, until: i32, alpn: &[u8]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(until, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        config.alpn_protocols = vec![alpn.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Answers each connection's requests with 200: HTTP/2, or one of HTTP/1.1.
async fn serve(acceptor: TlsAcceptor) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            // A client that doesn't like the certificate says so and goes.
            let Ok(mut socket) = acceptor.accept(socket).await else { continue };
            if socket.get_ref().1.alpn_protocol() == Some(b"h2") {
                let mut connection = h2::server::handshake(socket).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    respond.send_response(http::Response::default(), true).unwrap();
                }
            } else {
                let mut asked = Vec::new();
                while !asked.ends_with(b"{}") {
                    assert!(socket.read_buf(&mut asked).await.unwrap() > 0);
                }
                socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            }
        }
    });
    address
}

fn post(address: &str) -> Request<Bytes> {
    Request::post(address)
        .header("authorization", ApiKey::new("xai-s3cret").unwrap().authorization())
        .body(Bytes::from_static(b"{}"))
        .unwrap()
}

#[track_caller]
fn assert_certificate(error: &TransportError) {
    let seen = (error.kind(), error.reach());
    assert_eq!(seen, (TransportErrorKind::Certificate, Reach::NotSent), "{error:?}");
    let told = error.to_string();
    assert!(told.contains("certificate") && told.contains("SSL_CERT_FILE"), "{told}");
}

#[tokio::test]
async fn a_ca_that_is_named_is_trusted_and_the_server_chooses_the_http() {
    let ca = Ca::new();
    let transport = ReqwestTransport::builder().trust_ca_pem(ca.pem.clone()).build().unwrap();
    for (alpn, version) in [(&b"h2"[..], Version::HTTP_2), (b"http/1.1", Version::HTTP_11)] {
        let address = serve(ca.server("localhost", 2100, alpn)).await;
        let answer = transport.send(post(&address)).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
    }
}

#[tokio::test]
async fn of_several_cas_each_is_trusted() {
    let cas = [Ca::new(), Ca::new(), Ca::new()];
    let transport = ReqwestTransport::builder()
        .trust_ca_pem(format!("{}{}", cas[0].pem, cas[1].pem))
        .trust_ca_pem(cas[2].pem.clone())
        .build()
        .unwrap();
    for ca in &cas {
        let address = serve(ca.server("localhost", 2100, b"h2")).await;
        assert_eq!(transport.send(post(&address)).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn fault_14_a_certificate_of_an_unknown_issuer_for_another_name_or_of_the_past_is_said_so() {
    let ca = Ca::new();
    let strict = ReqwestTransport::new().unwrap();
    let trusting = ReqwestTransport::builder().trust_ca_pem(ca.pem.clone()).build().unwrap();
    for (transport, name, until) in [
        (&strict, "localhost", 2100),
        (&trusting, "elsewhere.example", 2100),
        (&trusting, "localhost", 2020),
    ] {
        let address = serve(ca.server(name, until, b"h2")).await;
        assert_certificate(&transport.send(post(&address)).await.unwrap_err());
    }
}

#[test]
fn a_ca_that_is_none_is_refused() {
    let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    for pem in ["", "no PEM", broken] {
        let error = ReqwestTransport::builder().trust_ca_pem(pem).build().unwrap_err();
        assert_eq!(error.kind(), TransportErrorKind::InvalidRequest, "{pem}");
    }
}

/// Names the variable by which the tests below know that they run in a process of their own: a
/// process may not change its own environment safely.
const ADDRESS: &str = "PACELINE_TEST_ADDRESS";

/// Runs one of these tests in a process with that environment, and waits for its end.
async fn again(test: &str, address: &str, variables: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact"]).env(ADDRESS, address);
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    let ended = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
}

#[tokio::test]
async fn the_proxy_of_the_environment_is_asked_for_a_tunnel_and_not_given_the_key() {
    let transport = ReqwestTransport::new().unwrap();
    if let Ok(address) = std::env::var(ADDRESS) {
        let error = transport.send(post(&address)).await.unwrap_err();
        assert_eq!(error.reach(), Reach::NotSent, "{error:?}");
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            assert!(socket.read_buf(&mut asked).await.unwrap() > 0);
        }
        socket.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        String::from_utf8(asked).unwrap()
    });
    let test = "tls::the_proxy_of_the_environment_is_asked_for_a_tunnel_and_not_given_the_key";
    again(test, "https://host.invalid/", &[("HTTPS_PROXY", &proxy)]).await;
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("CONNECT host.invalid:443 HTTP/1.1\r\n"), "{asked}");
    assert!(!asked.contains("s3cret"), "{asked}");
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_ca_in_the_file_of_the_environment_is_trusted() {
    if let Ok(address) = std::env::var(ADDRESS) {
        let answer = ReqwestTransport::new().unwrap().send(post(&address)).await.unwrap();
        assert_eq!(answer.status(), 200);
        return;
    }
    let ca = Ca::new();
    let address = serve(ca.server("localhost", 2100, b"h2")).await;
    let folder = std::env::temp_dir();
    let file = folder.join(format!("paceline-transport-ca-{}.pem", std::process::id()));
    std::fs::write(&file, &ca.pem).unwrap();
    let variables = [("SSL_CERT_FILE", file.to_str().unwrap())];
    let test = "tls::a_ca_in_the_file_of_the_environment_is_trusted";
    again(test, &address, &variables).await;
    std::fs::remove_file(file).unwrap();
}
