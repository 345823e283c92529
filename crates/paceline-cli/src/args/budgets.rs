//! The options of budgets over runs: by the hour, the day and the month, of money and of tokens, for
//! all calls or for those of a tag.

use std::num::NonZeroU64;

use clap::Args;
use paceline::budget::{Budget, BudgetError, Period};
use paceline_core::{LimitKey, Money, Tag};

#[derive(Debug, Default, Args)]
pub(crate) struct BudgetArgs {
    /// Spend at most this in any hour (UTC), together with all runs on the ledger; TAG=USD for the
    /// calls of a tag alone. May be given again; needs --ledger
    #[arg(long, value_name = "[TAG=]USD", value_parser = money)]
    budget_per_hour: Vec<Part<Money>>,
    /// The same in any day (UTC)
    #[arg(long, value_name = "[TAG=]USD", value_parser = money)]
    budget_per_day: Vec<Part<Money>>,
    /// The same in any month (UTC)
    #[arg(long, value_name = "[TAG=]USD", value_parser = money)]
    budget_per_month: Vec<Part<Money>>,
    /// Use at most so many tokens in any hour (UTC), input and output together; else as
    /// --budget-per-hour
    #[arg(long, value_name = "[TAG=]N", value_parser = tokens)]
    tokens_per_hour: Vec<Part<NonZeroU64>>,
    /// The same in any day (UTC)
    #[arg(long, value_name = "[TAG=]N", value_parser = tokens)]
    tokens_per_day: Vec<Part<NonZeroU64>>,
    /// The same in any month (UTC)
    #[arg(long, value_name = "[TAG=]N", value_parser = tokens)]
    tokens_per_month: Vec<Part<NonZeroU64>>,
    /// Where the budget of an hour, a day or a month is spent, wait for the next one instead of ending
    #[arg(long)]
    pub(crate) wait_for_budget: bool,
}

/// The most that calls may take: all of them, or those of a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part<T> {
    tag: Option<Tag>,
    most: T,
}

/// A budget that was asked for: by which option, and what it came to.
pub(crate) type Asked = (&'static str, Result<Budget, BudgetError>);

impl BudgetArgs {
    /// Every budget that was asked for.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        let money = self.money().into_iter().flat_map(|(name, parts, period)| {
            let budget = move |part: &Part<Money>| part.of(Budget::money(part.most, period));
            parts.iter().map(move |part| (name, budget(part)))
        });
        let tokens = self.tokens().into_iter().flat_map(|(name, parts, period)| {
            let budget = move |part: &Part<NonZeroU64>| {
                part.of(Budget::total_tokens(part.most.get(), period))
            };
            parts.iter().map(move |part| (name, budget(part)))
        });
        money.chain(tokens).collect()
    }

    /// The option by which a budget of money was asked for first, if one was.
    pub(crate) fn first_of_money(&self) -> Option<&'static str> {
        self.money().into_iter().find(|(_, parts, _)| !parts.is_empty()).map(|(name, ..)| name)
    }

    /// The option by which any budget was asked for first.
    pub(crate) fn first(&self) -> Option<&'static str> {
        self.asked().first().map(|(name, _)| *name)
    }

    fn money(&self) -> [(&'static str, &[Part<Money>], Period); 3] {
        [
            ("--budget-per-hour", &self.budget_per_hour, Period::Hour),
            ("--budget-per-day", &self.budget_per_day, Period::Day),
            ("--budget-per-month", &self.budget_per_month, Period::Month),
        ]
    }

    fn tokens(&self) -> [(&'static str, &[Part<NonZeroU64>], Period); 3] {
        [
            ("--tokens-per-hour", &self.tokens_per_hour, Period::Hour),
            ("--tokens-per-day", &self.tokens_per_day, Period::Day),
            ("--tokens-per-month", &self.tokens_per_month, Period::Month),
        ]
    }
}

impl<T> Part<T> {
    /// Reads `MOST` or `TAG=MOST`; a tag may hold further equals signs.
    fn read(text: &str, most: impl Fn(&str) -> Result<T, String>) -> Result<Self, String> {
        match text.rsplit_once('=') {
            Some(("", _)) => Err("a tag has a name, as in evals=5".to_owned()),
            Some((tag, rest)) => Ok(Self { tag: Some(Tag::from(tag)), most: most(rest)? }),
            None => Ok(Self { tag: None, most: most(text)? }),
        }
    }

    fn of(&self, budget: Result<Budget, BudgetError>) -> Result<Budget, BudgetError> {
        match &self.tag {
            Some(tag) => budget.map(|budget| budget.scope(LimitKey::Tag(tag.clone()))),
            None => budget,
        }
    }
}

fn money(text: &str) -> Result<Part<Money>, String> {
    Part::read(text, super::usd)
}

fn tokens(text: &str) -> Result<Part<NonZeroU64>, String> {
    Part::read(text, super::limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_for_all_or_for_a_tag() {
        let read = |text| money(text).map(|part| (part.tag, part.most));
        assert_eq!(read("5"), Ok((None, Money::from_usd(5))));
        assert_eq!(read("evals=5"), Ok((Some("evals".into()), Money::from_usd(5))));
        assert_eq!(read("a=b=5"), Ok((Some("a=b".into()), Money::from_usd(5))));
        for wrong in ["=5", "evals=", "evals", "evals=0", "", "evals=-1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(tokens("a=7").map(|part| part.most.get()), Ok(7));
        assert!(tokens("a=1.5").is_err() && tokens("a=0").is_err());
    }

    #[test]
    fn every_option_becomes_its_budget() {
        let args = BudgetArgs {
            budget_per_hour: vec![money("1").expect("money")],
            budget_per_month: vec![money("9").expect("money"), money("x=2").expect("money")],
            tokens_per_day: vec![tokens("x=1000").expect("tokens")],
            ..BudgetArgs::default()
        };
        let shown = args
            .asked()
            .into_iter()
            .map(|(name, budget)| format!("{name} {}", budget.expect("a budget")));
        let expected = [
            "--budget-per-hour $1.00 an hour for all calls",
            "--budget-per-month $9.00 a month for all calls",
            "--budget-per-month $2.00 a month for tag x",
            "--tokens-per-day 1000 tokens a day for tag x",
        ];
        assert_eq!(shown.collect::<Vec<_>>(), expected);
        assert_eq!(args.first_of_money(), Some("--budget-per-hour"));
        let tokens = BudgetArgs { tokens_per_day: args.tokens_per_day, ..BudgetArgs::default() };
        assert_eq!((tokens.first_of_money(), tokens.first()), (None, Some("--tokens-per-day")));
    }
}
