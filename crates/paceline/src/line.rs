//! Who may stand in the admission's queue: a few calls of each model, first come, first served.
//!
//! All others wait before it without an estimate, so that they are reserved with what the answers before
//! them have taught. Invariant: a model that has to wait holds up no call of another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use paceline_core::ModelId;
use tokio::sync::Semaphore;

use crate::client::lock;

/// The lines of all models.
#[derive(Debug)]
pub(crate) struct Lines {
    models: Mutex<BTreeMap<ModelId, Arc<Semaphore>>>,
    /// That of all further models.
    others: Arc<Semaphore>,
}

impl Lines {
    /// The line in which the calls to a model stand.
    pub(crate) fn of(&self, model: &ModelId) -> Arc<Semaphore> {
        let mut models = lock(&self.models);
        if let Some(line) = models.get(model) {
            return Arc::clone(line);
        }
        if models.len() == MODELS {
            return Arc::clone(&self.others);
        }
        let line = Arc::new(Semaphore::new(IN_LINE));
        models.insert(model.clone(), Arc::clone(&line));
        line
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self { models: Mutex::default(), others: Arc::new(Semaphore::new(IN_LINE)) }
    }
}

/// Calls of a model that wait with an estimate made.
const IN_LINE: usize = 4;

/// Models with a line of their own.
const MODELS: usize = 256;
