//! Ctrl-C and the request to end, none of them lost.
//!
//! Invariant: from [`Interrupts::listen`] on, every signal is counted, however busy the loop is
//! that asks for them.

#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Signals that have come and not been taken.
#[derive(Debug)]
pub(crate) struct Interrupts(mpsc::Receiver<()>);

/// More than two make no difference.
const KEPT: usize = 4;

impl Interrupts {
    /// Listens from now on. Needs a tokio runtime.
    pub(crate) fn listen() -> Self {
        let (sender, receiver) = mpsc::channel(KEPT);
        // Made here and not by the tasks, which may not have begun when the first signal comes.
        #[cfg(unix)]
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            // Where the system refuses, the signal ends the program as it does by default.
            let Ok(mut signals) = signal(kind) else { continue };
            let sender = sender.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    // A full channel says enough.
                    let _ = sender.try_send(());
                }
            });
        }
        #[cfg(not(unix))]
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                let _ = sender.try_send(());
            }
        });
        Self(receiver)
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }
}
