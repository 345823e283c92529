//! Many chats as a whole: what they will use and cost together, before and while they run.
//!
//! The ranges are those of the estimator; this adds the prices.

use paceline_budget::{Job, ModelTotal, Price, TotalRange};
use paceline_core::Money;

use crate::client::{Client, lock};
use crate::request::Chat;

/// What a job will use and cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobRange {
    /// How many calls it is.
    pub calls: u64,
    /// Its tokens, input and output together.
    pub tokens: TotalRange,
    /// Its cost; `None` where a model of it has no price.
    pub cost: Option<CostRange>,
    /// Answers that were learned from: of the model of it of which there were fewest. While it is zero, how
    /// long answers are is not known, and the range reaches thirteen times as far to either side.
    pub learned: u64,
}

/// What a job will cost, by list prices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CostRange {
    /// The expected cost.
    pub expected: Money,
    /// The low end of the range.
    pub low: Money,
    /// The high end.
    pub high: Money,
}

impl Client {
    /// Adds a chat to a job that is to be estimated as a whole.
    pub fn add_to_job(&self, job: &mut Job, chat: &Chat) {
        let shape = chat.shape(self.tokenizer());
        lock(&self.0.estimator).add_to_job(job, &shape);
    }

    /// What a job will use and cost in all, with everything that was learned so far: ask again as
    /// answers come. Before the first one the range is wide, and honest about it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use paceline::budget::Job;
    /// use paceline::{Chat, Client};
    /// # use paceline_transport::mock::{Answer, MockTransport};
    /// # let transport = MockTransport::new().always(Answer::new(200, r#"{
    /// #   "choices": [], "usage": {"prompt_tokens": 140, "completion_tokens": 40, "total_tokens": 180}}"#));
    /// # let client = Client::builder().base_url("http://127.0.0.1:1/v1").transport(transport).build()?;
    /// let chats: Vec<_> = (0..1_000).map(|n| Chat::new("grok-4.3").user(format!("What is {n}?"))).collect();
    /// let mut job = Job::new();
    /// chats.iter().for_each(|chat| client.add_to_job(&mut job, chat));
    /// let before = client.job(&job);
    ///
    /// for chat in &chats[..20] {
    ///     client.chat(chat).await?;
    /// }
    /// let after = client.job(&job);
    /// assert!(after.tokens.high - after.tokens.low < before.tokens.high - before.tokens.low);
    /// assert!(after.tokens.low <= 180_000 && 180_000 <= after.tokens.high);
    /// # Ok(())
    /// # }
    /// ```
    pub fn job(&self, job: &Job) -> JobRange {
        let totals = lock(&self.0.estimator).job(job);
        let mut tokens = Sides::default();
        let mut cost = Some(Sides::default());
        for total in &totals {
            tokens.add(&Sides::of(&total.input, &total.output, |input, output| input + output));
            cost = cost.zip(self.price(&total.model)).map(|(mut sum, price)| {
                let (of_input, of_output) = rates(price, total);
                let ticks = |input, output| of_input * input + of_output * output;
                sum.add(&Sides::of(&total.input, &total.output, ticks));
                sum
            });
        }
        let [expected, low, high] = tokens.ends();
        let mut tokens = TotalRange::default();
        (tokens.expected, tokens.low, tokens.high) = (expected as u64, low as u64, high as u64);
        let money = |ticks: f64| Money::from_ticks(ticks as i128);
        let cost = cost.map(|cost| {
            let [expected, low, high] = cost.ends().map(money);
            CostRange { expected, low, high }
        });
        let learned = totals.iter().map(|total| total.learned).min().unwrap_or(0);
        JobRange { calls: job.calls(), tokens, cost, learned }
    }
}

/// Ticks for a token of input and for one of output, at the size of the job's mean call: large prompts
/// have other rates than small ones.
fn rates(price: Price, total: &ModelTotal) -> (f64, f64) {
    const MANY: u64 = 1_000_000;
    let input = (total.input.expected / total.calls.max(1)).max(1);
    let ticks = |input, output| price.cost_of(input, output).as_ticks() as f64;
    let of_input = ticks(input, 0);
    (of_input / input as f64, (ticks(input, MANY) - of_input) / MANY as f64)
}

/// A sum, and how far it reaches to either side.
#[derive(Clone, Copy, Debug, Default)]
struct Sides {
    expected: f64,
    below: f64,
    above: f64,
}

impl Sides {
    /// Of input and output. Their errors are taken as independent, so they add as the sides of a right
    /// angle do.
    fn of(input: &TotalRange, output: &TotalRange, sum: impl Fn(f64, f64) -> f64) -> Self {
        let [i, o] =
            [input, output].map(|range| [range.expected, range.low, range.high].map(|n| n as f64));
        let expected = sum(i[0], o[0]);
        let aside = |end: usize| (sum(i[end], o[0]) - expected).hypot(sum(i[0], o[end]) - expected);
        Self { expected, below: aside(1).min(expected), above: aside(2) }
    }

    /// With that of another model. What is not known beforehand is not known of any model, so these
    /// add up.
    fn add(&mut self, other: &Self) {
        self.expected += other.expected;
        self.below += other.below;
        self.above += other.above;
    }

    fn ends(&self) -> [f64; 3] {
        [self.expected, self.expected - self.below, self.expected + self.above]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(expected: u64, low: u64, high: u64) -> TotalRange {
        let mut range = TotalRange::default();
        (range.expected, range.low, range.high) = (expected, low, high);
        range
    }

    #[test]
    fn two_parts_err_apart_and_two_models_together() {
        let (input, output) = (range(1_000, 970, 1_030), range(500, 460, 540));
        let mut sum = Sides::of(&input, &output, |input, output| input + output);
        assert_eq!(sum.ends(), [1_500.0, 1_450.0, 1_550.0], "30 and 40 across are 50");
        sum.add(&Sides::of(&input, &output, |input, output| input + output));
        assert_eq!(sum.ends(), [3_000.0, 2_900.0, 3_100.0]);
    }
}
