//! Writes a stream: each event at its moment, for as long as its client listens.
//!
//! Invariant: an admitted stream is charged once: at its end for all of it, or for what was
//! written until its client went away or a fault ended it.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep_until};

use super::answer::Reply;
use super::asked::Door;
use super::body::Piece;
use super::fault::{End, Inside};
use super::grok::{Ended, Grok};
use super::script::{Due, Event};
use super::{chat, responses};
use crate::rules::CallNumber;

/// A stream that is being written.
pub(super) struct Writer {
    pub(super) grok: Grok,
    pub(super) door: Door,
    pub(super) call: CallNumber,
    pub(super) reply: Reply,
    pub(super) inside: Option<Inside>,
    pub(super) pieces: UnboundedSender<Piece>,
}

/// What became of the wait for an event's moment.
enum Waited {
    Due,
    ClientGone,
}

impl Writer {
    /// Writes it to its end. Begins now.
    pub(super) async fn write(self, script: Vec<Event>) {
        let start = Instant::now();
        let delays = self.reply.plan.delays;
        let tokens = self.reply.plan.output_tokens();
        let mut written = 0;
        let mut charged = false;
        for (number, event) in script.into_iter().enumerate() {
            let due = later(start, event.due.after(&delays, tokens));
            if matches!(self.wait(due).await, Waited::ClientGone) {
                if !charged {
                    self.charge(Ended::CutShort, written);
                }
                return;
            }
            let arrives = later(due, delays.outbound);
            if let Some(inside) = self.inside.as_ref().filter(|inside| inside.is_met(event.due)) {
                return self.go_wrong(&inside.end, number, written, arrives).await;
            }
            match event.due {
                Due::Start => {}
                Due::Token(number) => written = number,
                Due::End if charged => {}
                Due::End => {
                    self.charge(Ended::Whole, tokens);
                    charged = true;
                }
            }
            // Whether the client is still there is looked at before the next event.
            let _ = self.pieces.send((arrives, Some(event.bytes)));
        }
        let arrives = later(later(start, delays.work), delays.outbound);
        match self.inside.as_ref().map(|inside| &inside.end) {
            Some(End::Break) => {
                let _ = self.pieces.send((arrives, None));
            }
            Some(End::Stall) => self.pieces.closed().await,
            _ => {}
        }
    }

    /// Until that moment, or until the client goes away, whichever is first.
    async fn wait(&self, due: Instant) -> Waited {
        if self.pieces.is_closed() {
            return Waited::ClientGone;
        }
        if due <= Instant::now() {
            return Waited::Due;
        }
        tokio::select! {
            biased;
            () = sleep_until(due) => Waited::Due,
            () = self.pieces.closed() => Waited::ClientGone,
        }
    }

    /// Ends it with a fault, in place of the event of this number.
    async fn go_wrong(&self, end: &End, number: usize, written: u64, arrives: Instant) {
        let last = match end {
            End::Stall => {
                self.pieces.closed().await;
                return self.charge(Ended::CutShort, written);
            }
            End::Break => None,
            End::Error(trouble) | End::Failed(trouble) => Some(match (self.door, end) {
                (Door::Responses, End::Failed(_)) => {
                    responses::failed(&self.reply, &trouble.code, &trouble.text, number)
                }
                (Door::Responses, _) => responses::error(&trouble.code, &trouble.text, number),
                _ => chat::error(&trouble.code, &trouble.text),
            }),
        };
        self.charge(Ended::CutShort, written);
        let _ = self.pieces.send((arrives, last));
    }

    fn charge(&self, ended: Ended, output_tokens: u64) {
        let Reply { model, input_tokens, .. } = self.reply;
        self.grok.complete(model, self.call, input_tokens, output_tokens, ended);
    }
}

impl Inside {
    /// Whether it comes in place of an event of this moment.
    const fn is_met(&self, due: Due) -> bool {
        match due {
            Due::Start => false,
            Due::Token(number) => number > self.after,
            Due::End => matches!(self.end, End::Error(_) | End::Failed(_)),
        }
    }
}

/// A sum that no clock can hold is a time that never comes.
fn later(at: Instant, by: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(30 * 365 * 86_400);
    at.checked_add(by).unwrap_or(at + NEVER)
}
