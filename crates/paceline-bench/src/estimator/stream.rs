//! One client of one model, request by request: it estimates, is told, and learns.
//!
//! Invariant: an estimate is made before its answer is known, and no document comes twice.

use paceline_budget::{Features, InputModel, InputPrior};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::documents::{Document, Workload, shuffle};
use super::truth::Tokenizer;

/// What a server counts beside the texts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server {
    pub(super) truth: Tokenizer,
    /// Hidden in every request.
    pub(super) constant: u64,
}

/// Around every message but the first: not what the prior believes, which is 4.
const PER_MESSAGE: u64 = 7;

impl Server {
    /// The tokens of a request.
    pub(super) fn tokens(&self, document: &Document) -> u64 {
        let further = u64::from(document.messages.saturating_sub(1));
        document.counts[self.truth as usize] + self.constant + PER_MESSAGE * further
    }
}

/// Hidden constants that were measured.
pub(super) const CONSTANTS: [u64; 3] = [6, 130, 192];
/// Requests of a stream.
pub(super) const REQUESTS: usize = 400;

/// One request of a stream, as it went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) actual: u64,
    pub(super) estimate: f64,
    pub(super) upper: f64,
}

impl Step {
    pub(super) fn error(&self) -> f64 {
        (self.estimate - self.actual as f64).abs() / self.actual as f64
    }
}

/// Who estimates.
pub(super) trait Estimates {
    /// The tokens of a request, and what 95 % stay below.
    fn estimate(&self, document: &Document) -> (f64, f64);
    fn learn(&mut self, document: &Document, actual: u64);
}

/// Ours, from a prior that knows nothing of the tokenizer that judges.
#[derive(Clone)]
pub(super) struct Classes {
    model: InputModel,
    borrowed: Option<Tokenizer>,
}

impl Classes {
    pub(super) fn new(truth: Tokenizer) -> Self {
        Self::without(&[truth])
    }

    /// With a prior that knows none of several.
    pub(super) fn without(truths: &[Tokenizer]) -> Self {
        Self { model: InputModel::with_prior(prior(truths), 100.0, 80.0), borrowed: None }
    }

    pub(super) fn knowing(truth: Tokenizer, constant: u64) -> Self {
        let model = InputModel::with_prior(prior(&[truth]), constant as f64, 5.0);
        Self { model, borrowed: None }
    }

    /// With the count of the public tokenizer beside.
    pub(super) fn borrowing(truth: Tokenizer) -> Self {
        let model = InputModel::with_prior(prior(&[truth]).borrowing(), 100.0, 80.0);
        Self { model, borrowed: Some(truth.peer()) }
    }

    pub(super) const fn model(&self) -> &InputModel {
        &self.model
    }

    pub(super) fn features(&self, document: &Document) -> Features {
        let mut features = document.features;
        if let Some(borrowed) = self.borrowed {
            features.add_borrowed(document.counts[borrowed as usize]);
        }
        features
    }
}

fn prior(without: &[Tokenizer]) -> InputPrior {
    let names: Vec<_> = without.iter().map(|truth| truth.name()).collect();
    InputPrior::fitted_without(&names)
}

impl Estimates for Classes {
    fn estimate(&self, document: &Document) -> (f64, f64) {
        let features = self.features(document);
        let estimate = self.model.estimate(&features).expected_amount();
        (estimate as f64, self.model.upper_95(&features) as f64)
    }

    fn learn(&mut self, document: &Document, actual: u64) {
        self.model.learn(&self.features(document), actual);
    }
}

/// The peer: a public tokenizer, a ratio and a constant, learned by least squares on the relative
/// residual.
#[derive(Clone)]
pub(super) struct Ratio {
    tokenizer: Tokenizer,
    weights: [f64; 3],
    covariance: [[f64; 3]; 3],
}

impl Ratio {
    pub(super) const fn new(truth: Tokenizer) -> Self {
        let covariance = [[80.0 * 80.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 0.5 * 0.5]];
        Self { tokenizer: truth.peer(), weights: [100.0, 4.0, 1.1], covariance }
    }

    fn regressors(&self, document: &Document) -> [f64; 3] {
        let further = f64::from(document.messages.saturating_sub(1));
        [1.0, further, document.counts[self.tokenizer as usize] as f64]
    }

    fn mean(&self, x: &[f64; 3]) -> f64 {
        x.iter().zip(self.weights).map(|(x, weight)| x * weight).sum::<f64>().max(1.0)
    }
}

impl Estimates for Ratio {
    fn estimate(&self, document: &Document) -> (f64, f64) {
        let mean = self.mean(&self.regressors(document));
        (mean, mean)
    }

    fn learn(&mut self, document: &Document, actual: u64) {
        let x = self.regressors(document);
        let mean = self.mean(&x);
        let z = x.map(|x| x / mean);
        let gain = self.covariance.map(|row| row.iter().zip(z).map(|(a, b)| a * b).sum::<f64>());
        let spread: f64 = gain.iter().zip(z).map(|(a, b)| a * b).sum();
        let variance = spread + 0.03 * 0.03 + 0.25 / mean;
        let residual = (actual as f64 - mean) / mean;
        for i in 0..3 {
            self.weights[i] += gain[i] / variance * residual;
            for j in 0..3 {
                self.covariance[i][j] -= gain[i] * gain[j] / variance;
            }
        }
    }
}

/// Documents in an order of chance, none twice.
pub(super) fn draw(workloads: &[&Workload], most: usize, seed: u64) -> Vec<Document> {
    let mut documents: Vec<&Document> = workloads
        .iter()
        .flat_map(|workload| &workload.documents)
        .filter(|document| document.bytes > 0)
        .collect();
    shuffle(&mut documents, &mut StdRng::seed_from_u64(seed));
    documents.into_iter().take(most).cloned().collect()
}

/// The way of a stream.
pub(super) fn follow(
    estimates: &mut dyn Estimates,
    documents: &[Document],
    server: Server,
) -> Vec<Step> {
    documents
        .iter()
        .map(|document| {
            let actual = server.tokens(document);
            let (estimate, upper) = estimates.estimate(document);
            estimates.learn(document, actual);
            Step { actual, estimate, upper }
        })
        .collect()
}
