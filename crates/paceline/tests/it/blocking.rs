//! The form for scripts: many threads, one client, a real socket.

use paceline::transport::ApiKey;
use paceline::{Chat, Client, blocking};
use paceline_sim::http::{Latency, Server, ServerOptions};

use crate::held;

#[test]
fn threads_share_one_client_and_nothing_is_left_behind() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let options = ServerOptions::new().latency(Latency::instant());
    let server = runtime.block_on(Server::start(options)).expect("a free port");
    let client = Client::builder()
        .base_url(server.base_url())
        .api_key(ApiKey::new("simulated").expect("legal"))
        .build()
        .expect("legal settings");
    let client = blocking::Client::new(client).expect("a thread");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let client = client.clone();
            scope.spawn(move || {
                let chat = Chat::new("grok-4.3").user(format!("{number}"));
                assert!(client.chat(&chat).expect("an answer").text().is_some());
            });
        }
    });
    let stats = server.stats();
    assert_eq!((stats.ok, stats.status_429, held(client.client())), (8, 0, 0));
}
