//! Ctrl-C and the request to end, none of them lost.
//!
//! Invariant: from [`Interrupts::listen`] on, every signal is counted, however busy the loop is
//! that asks for them.

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
        let other = sender.clone();
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                // A full channel says enough.
                let _ = sender.try_send(());
            }
        });
        tokio::spawn(async move {
            crate::sim::terminated().await;
            let _ = other.try_send(());
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
