//! What an estimator has learned, to be kept between runs.
//!
//! Plain data with a version; the caller writes it where it likes, and overwrites nothing that was
//! refused. Invariant: what is read again was learned by this version, or it is an error.

use paceline_core::ModelId;
use serde::{Deserialize, Serialize};

use super::hidden::hidden;
use super::{Endpoint, Estimator, Models};
use crate::input::{InputModel, InputState, Inputs, StateError};
use crate::latency::LatencyModel;
use crate::output::OutputModel;

/// What an [`Estimator`] has learned, as JSON some 40 kB a model and door: 6 for its input where few
/// classes were met, up to 20 where all were, twice that beside another tokenizer; 9 each for the
/// length of its answers and the three sorts of times. Of lengths and times, those kinds of calls are
/// kept that were met most often; the others are learned again.
///
/// ```
/// use paceline_budget::{CallShape, Estimator, Features};
/// let call = CallShape::new("grok-4.3".into(), Features::of_text("Count from 1 to 3"));
/// let before = Estimator::new();
/// let after = Estimator::restore(&before.state())?;
/// assert_eq!(before.estimate(&call).input(), after.estimate(&call).input());
/// # Ok::<(), paceline_budget::StateError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EstimatorState {
    format: String,
    version: u32,
    models: Vec<ModelState>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ModelState {
    model: String,
    endpoint: Endpoint,
    classes: InputState,
    borrowing: Option<InputState>,
    #[serde(default)]
    output: OutputModel,
    #[serde(default)]
    latency: LatencyModel,
}

/// What such a state calls itself.
const FORMAT: &str = "paceline estimator";
/// Rises with every change of what is kept.
const VERSION: u32 = 1;

impl Estimator {
    /// What it has learned. A model that was told what no tokenizer does, so that it would be refused
    /// when read again, is left out.
    pub fn state(&self) -> EstimatorState {
        let models = self.models.iter().map(|((model, endpoint), models)| ModelState {
            model: model.as_str().to_owned(),
            endpoint: *endpoint,
            classes: models.input.classes.state(),
            borrowing: models.input.borrowing.as_ref().map(InputModel::state),
            output: models.output.clone(),
            latency: models.latency.clone(),
        });
        let models = models.filter(|state| {
            let inputs = [Some(&state.classes), state.borrowing.as_ref()];
            inputs.into_iter().flatten().all(|input| InputModel::restore(input).is_ok())
        });
        EstimatorState { format: FORMAT.to_owned(), version: VERSION, models: models.collect() }
    }

    /// An estimator that had learned this.
    ///
    /// # Errors
    /// Where it is no such state, of a later version, or of numbers that no model can have. What
    /// was refused should be kept: another version may read it.
    pub fn restore(state: &EstimatorState) -> Result<Self, StateError> {
        if state.format != FORMAT {
            return Err(StateError::Foreign);
        }
        if state.version > VERSION {
            return Err(StateError::Newer(state.version));
        }
        if state.models.len() > super::MAX_MODELS {
            return Err(StateError::Corrupt("there are too many models"));
        }
        let mut estimator = Self::new();
        for kept in &state.models {
            let classes = InputModel::restore(&kept.classes)?;
            let borrowing = kept.borrowing.as_ref().map(InputModel::restore).transpose()?;
            let hidden = hidden(&kept.model, kept.endpoint);
            let key = (ModelId::from(kept.model.as_str()), kept.endpoint);
            let mut models = Models::new(&key.0, key.1);
            models.input = Inputs::of(classes, borrowing, hidden);
            models.output = kept.output.clone();
            models.latency = kept.latency.clone();
            estimator.models.insert(key, models);
        }
        Ok(estimator)
    }
}
