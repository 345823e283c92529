//! Stand-in.
use paceline_core::{Amount, Completion, Instant, Tag};
use std::time::Duration;
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) amount: Amount,
    pub(crate) input: Amount,
    pub(crate) completes: Option<Completion>,
    pub(crate) class: Option<&'a Tag>,
}
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight(u32);
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    limit: u64,
}
impl Flow {
    pub(crate) fn new(limit: u64, _: Duration, _: Duration) -> Self {
        Self { limit }
    }
    pub(crate) fn verdict(&mut self, ask: &Ask<'_>, _: Instant) -> Result<(), Option<Instant>> {
        let _ = (ask.amount, ask.input, ask.completes, ask.class, self.limit);
        Ok(())
    }
    pub(crate) fn admit(&mut self, _: &Ask<'_>, _: Instant) -> Flight {
        Flight(0)
    }
    pub(crate) fn sent(&mut self, f: Flight, _: Instant) {
        let _ = f.0;
    }
    pub(crate) fn progress(&mut self, _: Flight, _: u64, _: Instant) {}
    pub(crate) fn settle(&mut self, _: Flight, _: Option<u64>, _: Instant) {}
    pub(crate) fn cancel(&mut self, _: Flight, _: Instant) {}
    pub(crate) fn record_past(&mut self, _: u64, _: Instant) {}
    pub(crate) fn set_limit(&mut self, _: u64, _: Instant) {}
    pub(crate) fn set_delay(&mut self, _: Duration, _: Instant) {}
}
