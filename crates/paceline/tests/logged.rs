//! What the log tells of a refusal, in a program of its own: which events anybody listens to is known
//! of all threads of a process together.

use std::sync::{Arc, Mutex};

use paceline::transport::mock::{Answer, MockTransport};
use paceline::{Chat, Client};

/// What is logged, up to a level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_server_quotes_of_a_prompt_is_logged_only_where_it_is_asked_for() {
    for (level, is_shown) in [("debug", false), ("trace", true)] {
        let log = Log::default();
        let written = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(format!("paceline={level}"))
            .with_writer(move || written.clone())
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let quoted = r#"{"code": "invalid-argument", "error": "messages[0]: 'MY SECRET PROMPT'"}"#;
        let transport = MockTransport::new().always(Answer::new(400, quoted));
        let client = Client::builder()
            .base_url("http://127.0.0.1:1/v1")
            .transport(transport)
            .build()
            .expect("legal settings");
        client.chat(&Chat::new("grok-4.3").user("Hello?")).await.expect_err("refused");
        let text = String::from_utf8(log.0.lock().expect("not poisoned").clone()).expect("text");
        assert!(text.contains("refused") && text.contains("invalid-argument"), "{text}");
        assert_eq!(text.contains("MY SECRET PROMPT"), is_shown, "{level}: {text}");
    }
}
