//! Calls a second through the whole client over the mock transport: estimate, admission, JSON,
//! settlement, learning; no network.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use paceline::transport::mock::{Answer, MockTransport};
use paceline::{Chat, Client};

const GOOD: &str = r#"{"choices": [{"message": {"role": "assistant", "content": "Hi"}}],
    "usage": {"prompt_tokens": 131, "completion_tokens": 9, "total_tokens": 140}}"#;

fn calls(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    // A host without a table of limits: nothing is waited for.
    let client = Client::builder()
        .base_url("https://example.com/v1")
        .transport(MockTransport::new().always(Answer::new(200, GOOD)))
        .build()
        .expect("legal settings");
    let chat = Chat::new("grok-4.3").user("What is a spider, and how many legs does it have?");
    let mut group = criterion.benchmark_group("facade");
    group.throughput(Throughput::Elements(1));
    group.bench_function("chat/mock", |bench| {
        bench.iter(|| runtime.block_on(client.chat(&chat)).expect("an answer"));
    });
    group.finish();
}

criterion_group!(benches, calls);
criterion_main!(benches);
