//! The event loop: calls wait, leave, arrive, end and are heard of, in virtual time.
//!
//! It knows neither limits nor lengths: a gate decides what leaves, a server what is refused.
//! Invariant: time never steps back, and every call that left is settled or refused once.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use paceline_core::{Dimension, Instant};
use paceline_sim::engine::Call as Admitted;

use super::gate::{Gate, Refused};
use super::server::Server;
use super::tally::{Outcome, Tally};
use super::workload::{Call, MILLI, SECOND, Source, real, whole};

/// The window of the limit on tokens.
pub(super) const WINDOW: u64 = 60 * SECOND;

/// How often the used share is looked at.
const SAMPLED_EVERY: u64 = 50 * MILLI;

/// How old the server's word about what is left may be.
const STALE: u64 = SECOND;

/// How long a refused neighbour waits, at least; and as much again by chance.
const NEIGHBOUR_WAITS: u64 = SECOND;

/// How calls come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Arrivals {
    /// There is always a next one.
    Backlog,
    /// By themselves, this share of the quota.
    Share(f64),
    /// So many times the limit at once, this often.
    Bursts(f64, u64),
}

/// What happens in a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    /// Windows counted, after the first, where the case says how many.
    pub(super) windows: Option<u64>,
    pub(super) arrivals: Arrivals,
    /// How often a stream is looked at, where calls are streamed.
    pub(super) streamed: Option<u64>,
    /// Whether answers say what is left.
    pub(super) headers: bool,
    /// The share of the quota that somebody else wants.
    pub(super) neighbour: Option<f64>,
    /// When the client forgets all it knows.
    pub(super) restart: Option<u64>,
    /// From when to when the limit is another, and which share of what was said.
    pub(super) cut: Option<(u64, u64, f64)>,
    /// How many calls the client works on at once, at most, refused ones that wait included.
    pub(super) workers: Option<u64>,
}

/// How much, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    pub(super) limit: u64,
    /// Windows counted, after the first.
    pub(super) windows: u64,
    /// Tokens of a call.
    pub(super) mean: f64,
}

impl Default for Setup {
    /// A backlog, no streams, nobody else and nothing special.
    fn default() -> Self {
        Self {
            windows: None,
            arrivals: Arrivals::Backlog,
            streamed: None,
            headers: false,
            neighbour: None,
            restart: None,
            cut: None,
            workers: None,
        }
    }
}

/// A client, a server and what is between them.
pub(super) struct World<G: Gate, M> {
    setup: Setup,
    quota: Quota,
    gate: G,
    make: M,
    server: Server,
    source: Source,
    /// What output no call of a class passes.
    most_output: [u64; 3],
    tally: Tally,
    events: BinaryHeap<Reverse<Event>>,
    sequence: u64,
    queue: VecDeque<Waiting>,
    /// Calls that left, or that wait before they ask again.
    flying: Vec<Flying<G::Pass>>,
    free: Vec<u32>,
    number: u64,
    era: u32,
    /// Calls that left and are not over, refused ones that wait included.
    open: u64,
    wake: u64,
    said: Option<(u64, u64)>,
}

/// Something that will happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    at: u64,
    sequence: u64,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A call reaches the server.
    Arrive(u32),
    /// It is over there.
    End(u32),
    /// The client hears of its end, of its refusal, of its first token, of more tokens.
    Heard(u32),
    Refused(u32),
    Head(u32),
    Progress(u32),
    /// A refused call asks again.
    Again(u32),
    /// The gate said to ask again now.
    Wake,
    /// New calls come.
    Come,
    /// Somebody else's call comes for the first time, comes again, ends.
    Theirs,
    TheirsAgain(u32),
    TheirsEnd(u32),
    Restart,
    Limit(u64),
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    call: Call,
    number: u64,
    since: u64,
    tries: u32,
}

#[derive(Clone, Copy, Debug)]
struct Flying<P> {
    waiting: Waiting,
    pass: Option<P>,
    admitted: Option<Admitted>,
    refused_by: Dimension,
    left: u64,
    arrived: u64,
    era: u32,
}

impl<G: Gate, M: Fn() -> G> World<G, M> {
    /// `make` makes the gate, again after a restart.
    pub(super) fn new(
        setup: Setup,
        quota: Quota,
        server: Server,
        source: Source,
        most_output: [u64; 3],
        make: M,
    ) -> Self {
        Self {
            setup,
            quota,
            gate: make(),
            make,
            server,
            source,
            most_output,
            tally: Tally::new(),
            events: BinaryHeap::new(),
            sequence: 0,
            queue: VecDeque::new(),
            flying: Vec::new(),
            free: Vec::new(),
            number: 0,
            era: 0,
            open: 0,
            wake: u64::MAX,
            said: None,
        }
    }

    /// Runs to the end.
    pub(super) fn run(mut self) -> Outcome {
        self.plan();
        let end = (self.quota.windows + 1) * WINDOW;
        let mut sample = WINDOW;
        self.pump(0);
        while let Some(Reverse(event)) = self.events.pop() {
            let until = event.at.min(end);
            while sample < until {
                let used = self.server.used(instant(sample));
                self.tally.sample(used, self.quota.limit);
                sample += SAMPLED_EVERY;
            }
            if event.at >= end {
                break;
            }
            self.happen(event.what, event.at);
        }
        let allowed = real(self.quota.limit) * real(self.quota.windows);
        Outcome {
            used: self.tally.ours / allowed,
            theirs: self.tally.theirs / allowed,
            highest: real(self.server.peak()) / real(self.quota.limit),
            tally: self.tally,
        }
    }

    /// What happens whatever the client does.
    fn plan(&mut self) {
        if self.setup.arrivals != Arrivals::Backlog {
            self.at(0, What::Come);
        }
        if self.setup.neighbour.is_some() {
            self.at(0, What::Theirs);
        }
        if let Some(at) = self.setup.restart {
            self.at(at, What::Restart);
        }
        if let Some((from, to, share)) = self.setup.cut {
            self.at(from, What::Limit(whole(real(self.quota.limit) * share)));
            self.at(to, What::Limit(self.quota.limit));
        }
    }

    fn happen(&mut self, what: What, now: u64) {
        match what {
            What::Arrive(slot) => self.arrive(slot, now),
            What::End(slot) => self.end(slot, now),
            What::Heard(slot) => self.heard(slot, now),
            What::Refused(slot) => self.refused(slot, now),
            What::Head(slot) => {
                if let Some(pass) = self.pass(slot) {
                    self.gate.head(pass, instant(now));
                }
            }
            What::Progress(slot) => self.progress(slot, now),
            What::Again(slot) => {
                self.queue.push_front(self.flying[index(slot)].waiting);
                self.free.push(slot);
                self.pump(now);
            }
            What::Wake => {
                if self.wake <= now {
                    self.wake = u64::MAX;
                    self.pump(now);
                }
            }
            What::Come => {
                self.come(now);
                self.pump(now);
            }
            What::Theirs => {
                let call = self.source.draw();
                let slot = self.keep(Waiting { call, number: 0, since: now, tries: 0 });
                self.theirs(slot, now);
                let share = self.setup.neighbour.unwrap_or(1.0);
                let gap = self.gap(share);
                self.at(now + gap, What::Theirs);
            }
            What::TheirsAgain(slot) => self.theirs(slot, now),
            What::TheirsEnd(slot) => self.theirs_end(slot, now),
            What::Restart => {
                self.era += 1;
                self.gate = (self.make)();
                self.wake = u64::MAX;
                self.pump(now);
            }
            What::Limit(limit) => self.server.set_limit(limit, instant(now)),
        }
    }

    /// Lets go whatever may go.
    fn pump(&mut self, now: u64) {
        loop {
            if self.queue.is_empty() && self.setup.arrivals == Arrivals::Backlog {
                self.wait(now);
            }
            let Some(head) = self.queue.front() else { return };
            let is_new = head.tries == 0;
            if is_new && self.setup.workers.is_some_and(|workers| self.open >= workers) {
                return;
            }
            match self.gate.ask(head.number, &head.call, instant(now)) {
                Ok(pass) => self.leave(pass, now),
                Err(until) => {
                    let until = until.map_or(u64::MAX, |at| at.as_nanos().max(now + 1));
                    if until < self.wake {
                        self.wake = until;
                        self.at(until, What::Wake);
                    }
                    return;
                }
            }
        }
    }

    /// The head of the queue leaves.
    fn leave(&mut self, pass: G::Pass, now: u64) {
        let Some(head) = self.queue.pop_front() else { return };
        if head.tries == 0 {
            self.tally.waits.push(now - head.since);
            self.open += 1;
        }
        self.tally.sends += 1;
        let slot = self.keep(head);
        let flying = &mut self.flying[index(slot)];
        flying.pass = Some(pass);
        flying.left = now;
        self.at(now + head.call.there, What::Arrive(slot));
    }

    fn arrive(&mut self, slot: u32, now: u64) {
        let flying = &mut self.flying[index(slot)];
        let call = flying.waiting.call;
        flying.arrived = now;
        match self.server.arrive(&call, self.most_output[call.class.index()], instant(now)) {
            Ok(admitted) => {
                flying.admitted = Some(admitted);
                self.at(now + call.latency, What::End(slot));
                if let Some(every) = self.setup.streamed {
                    self.at(now + call.first + call.back, What::Head(slot));
                    if call.first + every < call.latency {
                        self.at(now + call.first + every + call.back, What::Progress(slot));
                    }
                }
            }
            Err(dimension) => {
                flying.refused_by = dimension;
                match dimension {
                    Dimension::Requests => self.tally.refused_as_requests += 1,
                    _ => self.tally.refused.push(now),
                }
                if flying.waiting.tries == 0 {
                    self.tally.ever_refused += 1;
                }
                self.at(now + call.back, What::Refused(slot));
            }
        }
    }

    fn end(&mut self, slot: u32, now: u64) {
        let Flying { admitted, waiting, .. } = self.flying[index(slot)];
        if let Some(admitted) = admitted {
            self.server.complete(admitted, instant(now));
        }
        self.tally.calls += 1;
        self.open -= 1;
        self.tally.ours += self.counted(waiting.call.total(), now);
        self.at(now + waiting.call.back, What::Heard(slot));
    }

    fn heard(&mut self, slot: u32, now: u64) {
        let Flying { waiting: Waiting { call, .. }, left, .. } = self.flying[index(slot)];
        if let Some(pass) = self.pass(slot) {
            self.gate.head(pass, instant(now));
            self.gate.settle(pass, &call, instant(left), instant(now));
            self.tell(now);
        }
        self.free.push(slot);
        self.pump(now);
    }

    fn refused(&mut self, slot: u32, now: u64) {
        let pass = self.pass(slot);
        let chance = self.source.chance();
        let flying = &mut self.flying[index(slot)];
        flying.waiting.tries += 1;
        let Flying { waiting, refused_by, left, .. } = *flying;
        let mut wait = Duration::ZERO;
        if let Some(pass) = pass {
            let (dimension, left) = (refused_by, instant(left));
            let refused = Refused { dimension, left, tries: waiting.tries, chance };
            wait = self.gate.refused(pass, &waiting.call, &refused, instant(now));
            self.tell(now);
        }
        let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        self.at(now.saturating_add(wait), What::Again(slot));
    }

    fn progress(&mut self, slot: u32, now: u64) {
        let (Some(every), Some(pass)) = (self.setup.streamed, self.pass(slot)) else { return };
        let Flying { waiting: Waiting { call, .. }, arrived, .. } = self.flying[index(slot)];
        let age = now - arrived - call.back;
        self.gate.progress(pass, &call, call.written(age), instant(now));
        if age + every < call.latency {
            self.at(now + every, What::Progress(slot));
        }
        self.pump(now);
    }

    /// What an answer says is left, as old as the server's word may be.
    fn tell(&mut self, now: u64) {
        if !self.setup.headers {
            return;
        }
        let remaining = match self.said {
            Some((at, remaining)) if now - at < STALE => remaining,
            _ => {
                let remaining = self.server.remaining(instant(now));
                self.said = Some((now, remaining));
                remaining
            }
        };
        self.gate.remaining(remaining, self.quota.limit, instant(now));
    }

    /// Calls come by themselves.
    fn come(&mut self, now: u64) {
        match self.setup.arrivals {
            Arrivals::Backlog => {}
            Arrivals::Share(share) => {
                self.wait(now);
                let gap = self.gap(share);
                self.at(now + gap, What::Come);
            }
            Arrivals::Bursts(times, every) => {
                let mut left = real(self.quota.limit) * times;
                while left > 0.0 {
                    left -= real(self.wait(now));
                }
                self.at(now + every, What::Come);
            }
        }
    }

    /// A new call waits; yields its tokens.
    fn wait(&mut self, now: u64) -> u64 {
        let call = self.source.draw();
        self.number += 1;
        self.queue.push_back(Waiting { call, number: self.number, since: now, tries: 0 });
        call.total()
    }

    fn theirs(&mut self, slot: u32, now: u64) {
        let call = self.flying[index(slot)].waiting.call;
        match self.server.arrive(&call, self.most_output[call.class.index()], instant(now)) {
            Ok(admitted) => {
                self.flying[index(slot)].admitted = Some(admitted);
                self.at(now + call.latency, What::TheirsEnd(slot));
            }
            Err(_) => {
                self.tally.theirs_refused += 1;
                let wait = real(NEIGHBOUR_WAITS) * (1.0 + self.source.chance());
                self.at(now + whole(wait), What::TheirsAgain(slot));
            }
        }
    }

    fn theirs_end(&mut self, slot: u32, now: u64) {
        let Flying { admitted, waiting, .. } = self.flying[index(slot)];
        if let Some(admitted) = admitted {
            self.server.complete(admitted, instant(now));
        }
        self.tally.theirs += self.counted(waiting.call.total(), now);
        self.free.push(slot);
    }

    /// What an amount counted now adds to the mean of all windows that end after the first: less
    /// at both ends of a run, so that it matters little at which moment of a cycle the run ends.
    fn counted(&self, amount: u64, now: u64) -> f64 {
        let end = (self.quota.windows + 1) * WINDOW;
        real(amount) * real(now.min(WINDOW).min(end - now)) / real(WINDOW)
    }

    /// The wait before the next arrival at this share of the quota.
    fn gap(&mut self, share: f64) -> u64 {
        let mean = real(WINDOW) * self.quota.mean / (real(self.quota.limit) * share);
        self.source.gap(mean)
    }

    /// The pass of a call that the present client made.
    fn pass(&self, slot: u32) -> Option<G::Pass> {
        let flying = &self.flying[index(slot)];
        flying.pass.filter(|_| flying.era == self.era)
    }

    fn keep(&mut self, waiting: Waiting) -> u32 {
        let flying = Flying {
            waiting,
            pass: None,
            admitted: None,
            refused_by: Dimension::TotalTokens,
            left: 0,
            arrived: 0,
            era: self.era,
        };
        if let Some(slot) = self.free.pop() {
            self.flying[index(slot)] = flying;
            return slot;
        }
        self.flying.push(flying);
        u32::try_from(self.flying.len() - 1).expect("fewer than 2^32 calls fly at once")
    }

    fn at(&mut self, at: u64, what: What) {
        self.sequence += 1;
        self.events.push(Reverse(Event { at, sequence: self.sequence, what }));
    }
}

const fn instant(at: u64) -> Instant {
    Instant::from_nanos(at)
}

const fn index(slot: u32) -> usize {
    slot as usize
}
