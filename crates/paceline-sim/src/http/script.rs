//! What a stream sends, and when: events of server-sent text, each due with a token.
//!
//! It is made before the first is sent, and nothing in it depends on the client. Invariant:
//! events are in the order of their moments.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::latency::Delays;

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) due: Due,
    pub(super) bytes: Bytes,
}

/// When an event is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// As soon as the call was admitted.
    Start,
    /// With the token of this number, from 1 on.
    Token(u64),
    /// When everything is written.
    End,
}

impl Due {
    /// How long after the admission, where so many tokens are written in all.
    pub(super) fn after(self, delays: &Delays, tokens: u64) -> Duration {
        match self {
            Self::Start => Duration::ZERO,
            Self::End => delays.work,
            Self::Token(number) => {
                let share = number.saturating_sub(1) as f64 / tokens.max(1) as f64;
                let seconds = delays.work.saturating_sub(delays.first).as_secs_f64() * share;
                let since = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
                delays.first.saturating_add(since).min(delays.work)
            }
        }
    }
}

/// A line of data, as chat completions send it.
pub(super) fn data(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

/// An event with its name, as responses send it.
pub(super) fn named(value: &Value) -> Bytes {
    let name = value.get("type").and_then(Value::as_str).unwrap_or("message");
    Bytes::from(format!("event: {name}\ndata: {value}\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_token_comes_when_it_is_said_and_the_others_at_one_speed() {
        let millis = Duration::from_millis;
        let delays = Delays {
            inbound: millis(5),
            first: millis(300),
            work: millis(700),
            outbound: millis(5),
        };
        let at = |due: Due| due.after(&delays, 4);
        assert_eq!(at(Due::Start), Duration::ZERO);
        let tokens = [1, 2, 3, 4].map(|number| at(Due::Token(number)));
        assert_eq!(tokens, [300, 400, 500, 600].map(millis));
        assert_eq!(at(Due::End), millis(700));
    }
}
