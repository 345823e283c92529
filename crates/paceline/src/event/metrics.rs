//! Events as counters and histograms of the `metrics` crate.
//!
//! Names that OpenTelemetry's conventions for generative AI have are theirs; the others begin with
//! `paceline.`. Labels are bounded: models, endings, kinds.

use metrics::{counter, histogram};
use paceline_budget::Ending;
use paceline_core::ModelId;

use super::EventKind;

/// Counts one event, with the model of its call.
pub(super) fn note(model: Option<&ModelId>, kind: &EventKind) {
    let model = model.map_or("", ModelId::as_str).to_owned();
    match kind {
        EventKind::Admitted { waited } => {
            histogram!("paceline.wait.duration", "gen_ai.request.model" => model)
                .record(waited.as_secs_f64());
        }
        EventKind::Settled { ending, usage, cost, after, .. } => {
            let ended = word(*ending);
            counter!("paceline.attempts", "gen_ai.request.model" => model.clone(), "ending" => ended)
                .increment(1);
            if let Some(after) = after {
                histogram!("gen_ai.client.operation.duration", "gen_ai.request.model" => model.clone(), "ending" => ended)
                    .record(after.as_secs_f64());
            }
            if let Some(usage) = usage {
                let tokens = [("input", usage.input_tokens()), ("output", usage.output_tokens())];
                for (of, tokens) in tokens {
                    histogram!("gen_ai.client.token.usage", "gen_ai.request.model" => model.clone(), "gen_ai.token.type" => of)
                        .record(f64::from(u32::try_from(tokens).unwrap_or(u32::MAX)));
                }
            }
            if let Some(cost) = cost {
                counter!("paceline.cost.ticks", "gen_ai.request.model" => model)
                    .increment(cost.as_amount());
            }
        }
        EventKind::Retried { kind, .. } => {
            counter!("paceline.retries", "gen_ai.request.model" => model, "error.type" => kind.name())
                .increment(1);
        }
        EventKind::Paused { .. } => counter!("paceline.pauses").increment(1),
        EventKind::LimitChanged(_) => counter!("paceline.limit_changes").increment(1),
        EventKind::Stopped { kind } => {
            counter!("paceline.stops", "error.type" => kind.name()).increment(1);
        }
        EventKind::Estimated { .. }
        | EventKind::Queued
        | EventKind::Sent
        | EventKind::Head { .. } => {}
    }
}

const fn word(ending: Ending) -> &'static str {
    match ending {
        Ending::Answered => "answered",
        Ending::Refused => "refused",
        Ending::NotSent => "not_sent",
        _ => "maybe_charged",
    }
}
