//! Where the key of the environment goes, and where it does not.

use std::process::Command;

use paceline::transport::mock::MockTransport;
use paceline::{Client, ErrorKind};

use super::{GOOD, chat};

/// Tells the test below that it runs in a process of its own: a process may not change its own
/// environment safely.
const AGAIN: &str = "PACELINE_TEST_AGAIN";
const KEY: &str = "xai-s3cret-of-the-environment";

#[tokio::test(start_paused = true)]
async fn the_key_of_the_environment_goes_to_xai_and_this_machine_alone() {
    if std::env::var_os(AGAIN).is_none() {
        let test = "key::the_key_of_the_environment_goes_to_xai_and_this_machine_alone";
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args([test, "--exact"])
            .env(AGAIN, "")
            .env("XAI_API_KEY", KEY)
            .output()
            .expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    for (base, goes) in [
        ("https://api.x.ai/v1", true),
        ("https://us.api.x.ai", true),
        ("http://127.0.0.1:9/v1", true),
        ("http://localhost:9", true),
        ("http://[::1]:9", true),
        ("https://api.x.ai.example.org", false),
        ("https://notx.ai", false),
        ("https://x.ai.evil.example", false),
        ("https://example.org/api.x.ai/v1", false),
        ("https://10.0.0.1", false),
    ] {
        let mock = MockTransport::new().answer(200, GOOD);
        let client = Client::builder().base_url(base).transport(mock.clone()).build();
        client.expect("legal settings").chat(&chat()).await.expect("answered");
        let sent = mock.sent();
        let key = sent[0].headers().get("authorization").map(|value| value.as_bytes().to_vec());
        assert_eq!(key, goes.then(|| format!("Bearer {KEY}").into_bytes()), "{base}");
        assert!(!format!("{sent:?}").contains("s3cret"), "{base}");
    }
    // In the clear it goes nowhere but to this machine.
    let refused =
        Client::builder().base_url("http://api.x.ai/v1").build().expect_err("in the clear");
    assert_eq!(refused.kind(), ErrorKind::Settings);
}
